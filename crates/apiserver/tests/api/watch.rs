//! Watches.

use std::time::Instant;

use serde_json::json;

use crate::support::{CONFIG_MAPS, Cluster, DEADLINE, config_map, labelled, names};

/// The newest revision a list knows.
async fn revision(cluster: &Cluster) -> String {
    let list = cluster.get(CONFIG_MAPS).await.body;
    list["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
}

fn event(kind: &str, name: &str) -> (String, String) {
    (kind.into(), name.into())
}

#[tokio::test]
async fn a_watch_from_a_revision_tells_every_change_after_it() {
    let cluster = Cluster::start().await;
    cluster.create(CONFIG_MAPS, &config_map("a", json!({}))).await;
    let from = revision(&cluster).await;
    cluster.put(&format!("{CONFIG_MAPS}/a"), &config_map("a", json!({ "k": "v" }))).await;
    let mut events = cluster.watch(&format!("{CONFIG_MAPS}?watch=true&resourceVersion={from}")).await;
    assert_eq!(events.next_name().await, event("MODIFIED", "a"));
    cluster.create(CONFIG_MAPS, &config_map("b", json!({}))).await;
    cluster.delete(&format!("{CONFIG_MAPS}/a")).await;
    assert_eq!(events.next_name().await, event("ADDED", "b"));
    assert_eq!(events.next_name().await, event("DELETED", "a"));
}

#[tokio::test]
async fn a_watch_without_revision_begins_with_what_there_is() {
    let cluster = Cluster::start().await;
    let mut events = cluster.watch(&format!("{CONFIG_MAPS}?watch=1")).await;
    assert_eq!(events.next_name().await, event("ADDED", "kube-root-ca.crt"));
    cluster.create(CONFIG_MAPS, &config_map("a", json!({}))).await;
    assert_eq!(events.next_name().await, event("ADDED", "a"));
}

#[tokio::test]
async fn an_object_that_leaves_the_selector_is_deleted_to_the_watch() {
    let cluster = Cluster::start().await;
    let from = revision(&cluster).await;
    let selected = format!("{CONFIG_MAPS}?watch=true&resourceVersion={from}&labelSelector=on%3Dyes");
    let mut events = cluster.watch(&selected).await;
    let path = format!("{CONFIG_MAPS}/a");
    cluster.create(CONFIG_MAPS, &labelled("a", json!({ "on": "no" }))).await;
    cluster.put(&path, &labelled("a", json!({ "on": "yes" }))).await;
    cluster.put(&path, &labelled("a", json!({ "on": "yes", "more": "x" }))).await;
    let last = cluster.put(&path, &labelled("a", json!({ "on": "no" }))).await.body;
    cluster.delete(&path).await;
    cluster.create(CONFIG_MAPS, &labelled("end", json!({ "on": "yes" }))).await;
    assert_eq!(events.next_name().await, event("ADDED", "a"));
    assert_eq!(events.next_name().await, event("MODIFIED", "a"));
    let deleted = events.next().await.unwrap();
    assert_eq!((&deleted["type"], &deleted["object"]["metadata"]["labels"]["on"]), (&json!("DELETED"), &json!("yes")));
    assert_eq!(deleted["object"]["metadata"]["resourceVersion"], last["metadata"]["resourceVersion"]);
    assert_eq!(events.next_name().await, event("ADDED", "end"));
}

#[tokio::test]
async fn initial_events_end_with_a_marked_bookmark() {
    let cluster = Cluster::start().await;
    let path = format!(
        "{CONFIG_MAPS}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    );
    let mut events = cluster.watch(&path).await;
    assert_eq!(events.next_name().await, event("ADDED", "kube-root-ca.crt"));
    let bookmark = events.next().await.unwrap();
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    assert_eq!(bookmark["object"]["metadata"]["resourceVersion"], revision(&cluster).await);
}

#[tokio::test]
async fn a_watch_ends_in_time_and_says_before_how_far_it_got() {
    let cluster = Cluster::start().await;
    let from = revision(&cluster).await;
    let started = Instant::now();
    let path = format!("{CONFIG_MAPS}?watch=true&resourceVersion={from}&timeoutSeconds=10&allowWatchBookmarks=true");
    let mut events = cluster.watch(&path).await;
    // A change elsewhere moves the revision that the bookmark tells.
    cluster.create("/api/v1/namespaces/default/secrets", &json!({ "metadata": { "name": "s" } })).await;
    let bookmark = events.next().await.unwrap();
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["metadata"]["resourceVersion"], revision(&cluster).await);
    assert_eq!(events.next().await, None);
    assert!(started.elapsed() < DEADLINE);
}

#[tokio::test]
async fn a_revision_from_the_future_is_an_error_event() {
    let cluster = Cluster::start().await;
    let mut events = cluster.watch(&format!("{CONFIG_MAPS}?watch=true&resourceVersion=99999999")).await;
    let error = events.next().await.unwrap();
    assert_eq!((&error["type"], &error["object"]["code"]), (&json!("ERROR"), &json!(504)));
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn a_revision_that_is_forgotten_is_an_error_event() {
    let cluster = Cluster::start_forgetful().await;
    let from = revision(&cluster).await;
    cluster.create(CONFIG_MAPS, &config_map("a", json!({}))).await;
    for change in 0..10 {
        cluster.put(&format!("{CONFIG_MAPS}/a"), &config_map("a", json!({ "k": change.to_string() }))).await;
    }
    let mut events = cluster.watch(&format!("{CONFIG_MAPS}?watch=true&resourceVersion={from}")).await;
    let error = events.next().await.unwrap();
    assert_eq!((&error["type"], &error["object"]["code"]), (&json!("ERROR"), &json!(410)));
    assert_eq!((&error["object"]["reason"], events.next().await), (&json!("Expired"), None));
}

#[tokio::test]
async fn a_client_that_does_not_read_is_told_what_it_missed_instead_of_being_waited_for() {
    let cluster = Cluster::start_forgetful().await;
    let from = revision(&cluster).await;
    let mut events = cluster.watch(&format!("{CONFIG_MAPS}?watch=true&resourceVersion={from}")).await;
    // More than the sockets between the two hold.
    let heavy = "x".repeat(256 << 10);
    for change in 0..40 {
        let data = json!({ "k": format!("{change}{heavy}") });
        let answer =
            cluster.put(&format!("{CONFIG_MAPS}/kube-root-ca.crt"), &config_map("kube-root-ca.crt", data)).await;
        assert_eq!(answer.code, 200);
    }
    let mut last = events.next().await.unwrap();
    while let Some(event) = events.next().await {
        last = event;
    }
    assert_eq!((&last["type"], &last["object"]["reason"]), (&json!("ERROR"), &json!("Expired")));
}

#[tokio::test]
async fn a_table_watch_defines_its_columns_once() {
    let cluster = Cluster::start().await;
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let mut events = cluster.watch_as(&format!("{CONFIG_MAPS}?watch=true"), accept).await;
    let first = events.next().await.unwrap();
    assert_eq!(first["object"]["kind"], "Table");
    assert_eq!(first["object"]["rows"][0]["cells"][0], "kube-root-ca.crt");
    assert!(first["object"]["columnDefinitions"].is_array());
    cluster.create(CONFIG_MAPS, &config_map("a", json!({}))).await;
    assert!(events.next().await.unwrap()["object"]["columnDefinitions"].is_null());
}

#[tokio::test]
async fn watches_end_when_the_server_stops() {
    let cluster = Cluster::start().await;
    let from = revision(&cluster).await;
    let mut events = cluster.watch(&format!("{CONFIG_MAPS}?watch=true&resourceVersion={from}")).await;
    let (_directory, end) = tokio::join!(cluster.stop(), events.next());
    assert_eq!(end, None);
}

#[tokio::test]
async fn a_watch_goes_on_after_a_restart_where_it_was() {
    let cluster = Cluster::start().await;
    cluster.create(CONFIG_MAPS, &config_map("a", json!({}))).await;
    let from = revision(&cluster).await;
    cluster.create(CONFIG_MAPS, &config_map("b", json!({}))).await;
    cluster.delete(&format!("{CONFIG_MAPS}/a")).await;
    let cluster = cluster.restart().await;
    let mut events = cluster.watch(&format!("{CONFIG_MAPS}?watch=true&resourceVersion={from}")).await;
    assert_eq!(events.next_name().await, event("ADDED", "b"));
    assert_eq!(events.next_name().await, event("DELETED", "a"));
    assert_eq!(names(&cluster.get(CONFIG_MAPS).await.body), ["b", "kube-root-ca.crt"]);
}
