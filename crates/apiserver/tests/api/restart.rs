//! What outlives the process.

use serde_json::json;

use crate::support::{CONFIG_MAPS, Cluster, config_map};

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
