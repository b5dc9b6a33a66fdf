//! Events, which two groups serve.

use serde_json::json;

use crate::support::Cluster;

const CORE: &str = "/api/v1/namespaces/default/events";
const NEWER: &str = "/apis/events.k8s.io/v1/namespaces/default/events";

#[tokio::test]
async fn an_event_of_one_group_is_seen_in_the_other() {
    let cluster = Cluster::start().await;
    let mut core_watch = cluster.watch(&format!("{CORE}?watch=true&fieldSelector=involvedObject.name%3Dp")).await;
    let event = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": { "name": "e" },
        "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "example.com/agent",
        "reportingInstance": "agent-1", "action": "Sync", "reason": "Synced", "type": "Normal", "note": "all is well",
        "regarding": { "kind": "Pod", "name": "p", "namespace": "default" },
    });
    let created = cluster.create(NEWER, &event).await;
    assert_eq!((&created["note"], &created["apiVersion"]), (&json!("all is well"), &json!("events.k8s.io/v1")));
    let core = cluster.get(&format!("{CORE}/e")).await.body;
    assert_eq!((&core["message"], &core["involvedObject"]["name"]), (&json!("all is well"), &json!("p")));
    assert_eq!(core_watch.next().await.unwrap()["object"], core);
    let changed = cluster.patch("merge-patch", &format!("{NEWER}/e"), &json!({ "note": "still" })).await.body;
    assert_eq!((&changed["note"], &changed["message"]), (&json!("still"), &json!(null)));
    let list = cluster.get(&format!("{NEWER}?fieldSelector=regarding.name%3Dp")).await.body;
    assert_eq!(list["items"], json!([changed]));
    cluster.delete(&format!("{CORE}/e")).await;
    assert_eq!(cluster.get(&format!("{NEWER}/e")).await.code, 404);
}
