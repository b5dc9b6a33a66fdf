//! What outlives the process.

use serde_json::json;

use crate::support::{CONFIG_MAPS, Cluster, SERVICES, config_map};

#[tokio::test]
async fn what_was_added_to_the_servers_own_objects_stays() {
    let cluster = Cluster::start().await;
    let label = json!({ "metadata": { "labels": { "team": "a" } } });
    for path in ["/api/v1/namespaces/default", "/api/v1/namespaces/default/services/kubernetes"] {
        assert_eq!(cluster.patch("merge-patch", path, &label).await.code, 200);
    }
    let cluster = cluster.restart().await;
    for path in ["/api/v1/namespaces/default", "/api/v1/namespaces/default/services/kubernetes"] {
        assert_eq!(cluster.get(path).await.body["metadata"]["labels"]["team"], "a", "{path}");
    }
}

#[tokio::test]
async fn objects_and_revisions_are_the_same_after_a_restart() {
    let cluster = Cluster::start().await;
    let created = cluster.create(CONFIG_MAPS, &config_map("a", json!({ "k": "v" }))).await;
    let before = cluster.get("/api/v1/configmaps").await.body;
    let cluster = cluster.restart().await;
    assert_eq!(cluster.get(&format!("{CONFIG_MAPS}/a")).await.body, created);
    // Nothing the server makes for itself was made or changed again.
    assert_eq!(cluster.get("/api/v1/configmaps").await.body, before);
}

#[tokio::test]
async fn the_service_of_the_api_and_its_endpoints_are_made_again_when_somebody_deletes_them() {
    let cluster = Cluster::start().await;
    let service = format!("{SERVICES}/kubernetes");
    let slice = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes";
    let before = cluster.get(&service).await.body;
    for path in [&service, slice] {
        assert_eq!(cluster.delete(path).await.code, 200);
    }
    let mut services = cluster.watch(&format!("{SERVICES}?watch=true")).await;
    let again = services.next().await.unwrap()["object"].clone();
    assert_eq!(again["spec"], before["spec"]);
    let mut slices = cluster.watch("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?watch=true").await;
    let again = slices.next().await.unwrap()["object"].clone();
    assert_eq!(
        (&again["metadata"]["name"], &again["endpoints"][0]["addresses"][0]),
        (&json!("kubernetes"), &json!("192.0.2.1"))
    );
}
