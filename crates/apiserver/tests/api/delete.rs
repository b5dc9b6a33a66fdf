//! Deletion.

use serde_json::{Value, json};

use crate::support::{Ask, CONFIG_MAPS, Cluster, DEPLOYMENTS, PODS, config_map, deployment, labelled, names, pod};

#[tokio::test]
async fn a_deleted_object_is_gone_and_the_answer_says_which() {
    let cluster = Cluster::start().await;
    let created = cluster.create(DEPLOYMENTS, &deployment("a", 1)).await;
    let deleted = cluster.delete(&format!("{DEPLOYMENTS}/a")).await;
    assert_eq!(
        (deleted.code, deleted.body),
        (
            200,
            json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
                "details": { "name": "a", "group": "apps", "kind": "deployments", "uid": created["metadata"]["uid"] },
            })
        )
    );
    assert_eq!(cluster.delete(&format!("{DEPLOYMENTS}/a")).await.code, 404);
}

#[tokio::test]
async fn a_running_pod_has_its_grace() {
    let cluster = Cluster::start().await;
    let mut running = pod("a");
    running["spec"]["nodeName"] = json!("node1");
    cluster.create(PODS, &running).await;
    let path = format!("{PODS}/a");
    let deleted = cluster.delete(&path).await.body;
    assert_eq!((&deleted["kind"], &deleted["metadata"]["deletionGracePeriodSeconds"]), (&json!("Pod"), &json!(30)));
    assert!(deleted["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(cluster.get(&path).await.body, deleted);
    // Once more changes nothing, less shortens, nothing ends it.
    assert_eq!(cluster.delete(&path).await.body, deleted);
    let shorter = cluster.delete(&format!("{path}?gracePeriodSeconds=5")).await.body;
    assert_eq!(shorter["metadata"]["deletionGracePeriodSeconds"], 5);
    let body = json!({ "gracePeriodSeconds": 0 });
    assert_eq!(cluster.ask(Ask::new("DELETE", &path).json(&body)).await.code, 200);
    assert_eq!(cluster.get(&path).await.code, 404);
}

#[tokio::test]
async fn a_pod_that_never_ran_goes_at_once() {
    let cluster = Cluster::start().await;
    cluster.create(PODS, &pod("a")).await;
    cluster.delete(&format!("{PODS}/a")).await;
    assert_eq!(cluster.get(&format!("{PODS}/a")).await.code, 404);
}

#[tokio::test]
async fn finalizers_hold_an_object_until_the_last_is_removed() {
    let cluster = Cluster::start().await;
    let mut object = config_map("a", json!({}));
    object["metadata"]["finalizers"] = json!(["example.com/hold"]);
    cluster.create(CONFIG_MAPS, &object).await;
    let path = format!("{CONFIG_MAPS}/a");
    let deleted = cluster.delete(&path).await.body;
    assert_eq!(deleted["kind"], "ConfigMap");
    assert!(deleted["metadata"]["deletionTimestamp"].is_string());
    let release = json!({ "metadata": { "finalizers": null } });
    assert_eq!(cluster.patch("merge-patch", &path, &release).await.code, 200);
    assert_eq!(cluster.get(&path).await.code, 404);
}

#[tokio::test]
async fn what_becomes_of_dependents_is_written_in_the_finalizers() {
    let cluster = Cluster::start().await;
    for (policy, finalizer) in [("Foreground", "foregroundDeletion"), ("Orphan", "orphan")] {
        let name = policy.to_lowercase();
        cluster.create(DEPLOYMENTS, &deployment(&name, 1)).await;
        let body = json!({ "kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy });
        let deleted = cluster.ask(Ask::new("DELETE", &format!("{DEPLOYMENTS}/{name}")).json(&body)).await.body;
        assert_eq!(deleted["metadata"]["finalizers"], json!([finalizer]));
    }
}

#[tokio::test]
async fn preconditions_protect_a_namesake() {
    let cluster = Cluster::start().await;
    cluster.create(CONFIG_MAPS, &config_map("a", json!({}))).await;
    let body = json!({ "preconditions": { "uid": "another" } });
    let refused = cluster.ask(Ask::new("DELETE", &format!("{CONFIG_MAPS}/a")).json(&body)).await;
    assert_eq!(refused.code, 409);
    assert!(refused.body["message"].as_str().unwrap().contains("Precondition failed: UID in precondition: another"));
    assert_eq!(cluster.get(&format!("{CONFIG_MAPS}/a")).await.code, 200);
}

#[tokio::test]
async fn a_collection_is_deleted_by_selector() {
    let cluster = Cluster::start().await;
    for (name, group) in [("a", "x"), ("b", "y"), ("c", "x")] {
        cluster.create(CONFIG_MAPS, &labelled(name, json!({ "group": group }))).await;
    }
    let deleted = cluster.delete(&format!("{CONFIG_MAPS}?labelSelector=group%3Dx")).await.body;
    assert_eq!((&deleted["kind"], names(&deleted)), (&json!("ConfigMapList"), vec!["a", "c"]));
    assert_eq!(names(&cluster.get(CONFIG_MAPS).await.body), ["b", "kube-root-ca.crt"]);
}

#[tokio::test]
async fn a_namespace_ends_when_it_is_finalized() {
    let cluster = Cluster::start().await;
    let namespace = json!({ "metadata": { "name": "n" } });
    let created = cluster.create("/api/v1/namespaces", &namespace).await;
    assert_eq!(created["spec"]["finalizers"], json!(["kubernetes"]));
    let deleted = cluster.delete("/api/v1/namespaces/n").await.body;
    assert_eq!((&deleted["kind"], &deleted["status"]["phase"]), (&json!("Namespace"), &json!("Terminating")));
    let refused = cluster.post("/api/v1/namespaces/n/configmaps", &config_map("a", json!({}))).await;
    assert_eq!(
        refused.refusal(),
        (
            403,
            "configmaps \"a\" is forbidden: unable to create new content in namespace n because it is being terminated"
        )
    );
    let mut finalized = deleted;
    finalized["spec"]["finalizers"] = json!([]);
    assert_eq!(cluster.put("/api/v1/namespaces/n/finalize", &finalized).await.code, 200);
    assert_eq!(cluster.get("/api/v1/namespaces/n").await.code, 404);
}

#[tokio::test]
async fn the_namespaces_of_the_cluster_itself_stay() {
    let cluster = Cluster::start().await;
    assert_eq!(
        cluster.delete("/api/v1/namespaces/kube-system").await.refusal(),
        (403, "namespaces \"kube-system\" is forbidden: this namespace may not be deleted")
    );
}

#[tokio::test]
async fn an_eviction_deletes_the_pod_unless_a_budget_forbids() {
    let cluster = Cluster::start().await;
    let mut protected = pod("a");
    protected["metadata"]["labels"] = json!({ "app": "a" });
    cluster.create(PODS, &protected).await;
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let budget = json!({
        "metadata": { "name": "a" }, "spec": { "minAvailable": 1, "selector": { "matchLabels": { "app": "a" } } },
    });
    cluster.create(budgets, &budget).await;
    let status =
        json!({ "status": { "disruptionsAllowed": 0, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1 } });
    cluster.patch("merge-patch", &format!("{budgets}/a/status"), &status).await;
    let eviction = json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": "a" } });
    let refused = cluster.post(&format!("{PODS}/a/eviction"), &eviction).await;
    assert_eq!(refused.refusal(), (429, "Cannot evict pod as it would violate the pod's disruption budget."));
    cluster.delete(&format!("{budgets}/a")).await;
    let evicted = cluster.post(&format!("{PODS}/a/eviction"), &eviction).await;
    assert_eq!((evicted.code, &evicted.body["status"]), (201, &json!("Success")));
    assert_eq!(cluster.get(&format!("{PODS}/a")).await.body["reason"], Value::from("NotFound"));
}
