//! Patches of all four kinds.

use serde_json::json;

use crate::support::{Ask, CONFIG_MAPS, Cluster, DEPLOYMENTS, config_map, deployment};

#[tokio::test]
async fn every_kind_of_patch_changes_the_object() {
    let cluster = Cluster::start().await;
    cluster.create(DEPLOYMENTS, &deployment("a", 1)).await;
    let path = format!("{DEPLOYMENTS}/a");
    let json_patch = json!([{ "op": "replace", "path": "/spec/replicas", "value": 2 }]);
    assert_eq!(cluster.patch("json-patch", &path, &json_patch).await.body["spec"]["replicas"], 2);
    let merge = json!({ "spec": { "replicas": 3 } });
    assert_eq!(cluster.patch("merge-patch", &path, &merge).await.body["spec"]["replicas"], 3);
    let image = json!({ "spec": { "template": { "spec": { "containers": [{ "name": "c", "image": "httpd" }] } } } });
    let merged = cluster.patch("strategic-merge-patch", &path, &image).await.body;
    assert_eq!(merged["spec"]["template"]["spec"]["containers"][0]["image"], "httpd");
    assert_eq!(merged["metadata"]["generation"], 4);
}

#[tokio::test]
async fn patches_that_do_not_fit_are_refused_and_change_nothing() {
    let cluster = Cluster::start().await;
    let created = cluster.create(DEPLOYMENTS, &deployment("a", 1)).await;
    let path = format!("{DEPLOYMENTS}/a");
    let absent = json!([{ "op": "replace", "path": "/spec/nothing/here", "value": 2 }]);
    assert_eq!(cluster.patch("json-patch", &path, &absent).await.code, 422);
    let stale = json!({ "metadata": { "resourceVersion": "1" }, "spec": { "replicas": 9 } });
    assert_eq!(cluster.patch("merge-patch", &path, &stale).await.code, 409);
    let wrong_type = json!({ "spec": { "replicas": "many" } });
    assert_eq!(cluster.patch("merge-patch", &path, &wrong_type).await.code, 422);
    let unknown = json!({ "spec": { "foo": 1 } });
    let strict = cluster.patch("merge-patch", &format!("{path}?fieldValidation=Strict"), &unknown).await;
    assert_eq!(strict.code, 422);
    assert!(strict.body["message"].as_str().unwrap().ends_with("strict decoding error: unknown field \"spec.foo\""));
    assert_eq!(cluster.patch("merge-patch", &format!("{DEPLOYMENTS}/b"), &json!({})).await.code, 404);
    let ask = Ask::new("PATCH", &path).json(&json!({}));
    assert_eq!(cluster.ask(ask).await.code, 415);
    assert_eq!(cluster.get(&path).await.body, created);
}

#[tokio::test]
async fn apply_creates_and_then_owns_what_it_applied() {
    let cluster = Cluster::start().await;
    let path = |manager: &str, force: bool| format!("{CONFIG_MAPS}/a?fieldManager={manager}&force={force}");
    let applied = cluster.patch("apply-patch", &path("one", false), &config_map("a", json!({ "k": "1" }))).await;
    assert_eq!(applied.code, 201, "{}", applied.text);
    assert_eq!(applied.body["metadata"]["managedFields"][0]["manager"], "one");
    let again = cluster.patch("apply-patch", &path("one", false), &config_map("a", json!({ "k": "1" }))).await;
    assert_eq!(again.code, 200);
    assert_eq!(again.body, applied.body);
    let other = cluster.patch("apply-patch", &path("two", false), &config_map("a", json!({ "k": "2" }))).await;
    assert_eq!((other.code, &other.body["details"]["causes"][0]["reason"]), (409, &json!("FieldManagerConflict")));
    let forced = cluster.patch("apply-patch", &path("two", true), &config_map("a", json!({ "k": "2" }))).await;
    assert_eq!((forced.code, &forced.body["data"]["k"]), (200, &json!("2")));
}

#[tokio::test]
async fn apply_needs_a_manager() {
    let cluster = Cluster::start().await;
    let refused = cluster.patch("apply-patch", &format!("{CONFIG_MAPS}/a"), &config_map("a", json!({}))).await;
    assert_eq!(
        refused.refusal(),
        (422, "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch")
    );
}

#[tokio::test]
async fn ordinary_writes_are_recorded_under_the_client_that_made_them() {
    let cluster = Cluster::start().await;
    let ask = Ask::new("POST", CONFIG_MAPS).json(&config_map("a", json!({ "k": "1" })));
    let created = cluster.ask(ask.header("user-agent", "kubectl/v1.33.0 (linux/amd64)")).await.body;
    let managed = &created["metadata"]["managedFields"][0];
    assert_eq!((&managed["manager"], &managed["operation"]), (&json!("kubectl"), &json!("Update")));
    assert_eq!(managed["fieldsV1"]["f:data"], json!({ ".": {}, "f:k": {} }));
}
