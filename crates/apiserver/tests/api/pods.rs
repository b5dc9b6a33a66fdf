//! What the server does to pods.

use serde_json::{Value, json};

use crate::support::{Cluster, PODS, pod};

#[tokio::test]
async fn a_new_pod_gets_an_account_its_token_and_tolerations() {
    let cluster = Cluster::start().await;
    let spec = cluster.create(PODS, &pod("a")).await["spec"].clone();
    assert_eq!((&spec["serviceAccountName"], &spec["priority"]), (&json!("default"), &json!(0)));
    let volume = &spec["volumes"][0];
    assert!(volume["name"].as_str().unwrap().starts_with("kube-api-access-"));
    assert_eq!(volume["projected"]["sources"][1]["configMap"]["name"], "kube-root-ca.crt");
    assert_eq!(
        spec["containers"][0]["volumeMounts"],
        json!([{
            "name": volume["name"], "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
        }])
    );
    let tolerated: Vec<&Value> = spec["tolerations"].as_array().unwrap().iter().map(|t| &t["key"]).collect();
    assert_eq!(tolerated, ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"]);
}

#[tokio::test]
async fn a_pod_of_an_account_that_does_not_exist_is_refused() {
    let cluster = Cluster::start().await;
    let mut object = pod("a");
    object["spec"]["serviceAccountName"] = json!("nope");
    assert_eq!(
        cluster.post(PODS, &object).await.refusal(),
        (
            403,
            "pods \"a\" is forbidden: error looking up service account default/nope: serviceaccount \"nope\" not found"
        )
    );
}

#[tokio::test]
async fn the_authority_is_published_in_every_namespace() {
    let cluster = Cluster::start().await;
    cluster.create("/api/v1/namespaces", &json!({ "metadata": { "name": "n" } })).await;
    for namespace in ["default", "kube-system", "n"] {
        let path = format!("/api/v1/namespaces/{namespace}/configmaps/kube-root-ca.crt");
        let config_map = cluster.get(&path).await.body;
        assert_eq!(config_map["data"]["ca.crt"], cluster.authority.certificate_pem());
    }
}

#[tokio::test]
async fn a_pod_is_bound_to_one_node_once() {
    let cluster = Cluster::start().await;
    cluster.create(PODS, &pod("a")).await;
    let binding = |node: &str| json!({ "apiVersion": "v1", "kind": "Binding", "metadata": { "name": "a" }, "target": { "kind": "Node", "name": node } });
    let bound = cluster.post(&format!("{PODS}/a/binding"), &binding("node1")).await;
    assert_eq!((bound.code, &bound.body["status"]), (201, &json!("Success")));
    let stored = cluster.get(&format!("{PODS}/a")).await.body;
    assert_eq!(stored["spec"]["nodeName"], "node1");
    let scheduled = &stored["status"]["conditions"][0];
    assert_eq!((&scheduled["type"], &scheduled["status"]), (&json!("PodScheduled"), &json!("True")));
    let again = cluster.post(&format!("{PODS}/a/binding"), &binding("node2")).await;
    assert_eq!(
        again.refusal(),
        (409, "Operation cannot be fulfilled on pods \"a\": pod a is already assigned to node \"node1\"")
    );
}
