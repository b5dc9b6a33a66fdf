//! The end of objects, namespaces and nodes, and the restarts of server and controllers.

use std::{collections::BTreeSet, time::Duration};

use apiserver::client::{
    CONFIG_MAPS, CUSTOM_RESOURCE_DEFINITIONS, DEPLOYMENTS, DeleteOptions, ENDPOINT_SLICES, Event, Gvr, ListOptions,
    NAMESPACES, NODES, PODS, Propagation, REPLICA_SETS, SECRETS, SERVICE_ACCOUNTS, SERVICES,
};
use serde_json::{Value, json};

use crate::cluster::{Cluster, count, names, workload};

async fn deployed(cluster: &Cluster, replicas: u64) {
    cluster.create(&DEPLOYMENTS, "default", "web", &workload("web", &json!({"replicas": replicas}))).await;
    let available = |found: &Value| count(&found["status"]["availableReplicas"]) == replicas;
    cluster.until(&DEPLOYMENTS, "default", "web", available).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_deleted_deployment_owned_goes_after_it() {
    let cluster = Cluster::with_nodes(1).await;
    deployed(&cluster, 3).await;
    let background = DeleteOptions::propagation(Propagation::Background);
    cluster.client.delete(&DEPLOYMENTS, "default", "web", &background).await.unwrap();
    cluster.until_all(&REPLICA_SETS, "default", ListOptions::default(), <[Value]>::is_empty).await;
    cluster.until_all(&PODS, "default", ListOptions::default(), <[Value]>::is_empty).await;
}

const PARTS: Gvr = Gvr { group: "example.com", version: "v1", plural: "parts", kind: "Part", namespaced: true };

async fn define_parts(cluster: &Cluster) {
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let spec = json!({
        "group": PARTS.group, "scope": "Namespaced", "names": {"plural": PARTS.plural, "kind": PARTS.kind},
        "versions": [
            {"name": "v1", "served": true, "storage": true, "schema": schema},
            {"name": "v1beta1", "served": true, "storage": false, "schema": schema},
        ],
    });
    cluster.create(&CUSTOM_RESOURCE_DEFINITIONS, "", "parts.example.com", &json!({"spec": spec})).await;
}

fn owned_by(owner: &Value, api_version: &str) -> Value {
    let metadata = &owner["metadata"];
    json!({"metadata": {"ownerReferences": [{
        "apiVersion": api_version, "kind": owner["kind"], "name": metadata["name"], "uid": metadata["uid"],
        "blockOwnerDeletion": true,
    }]}})
}

#[tokio::test(flavor = "multi_thread")]
async fn custom_objects_own_and_are_owned_as_others_are() {
    let cluster = Cluster::with_nodes(0).await;
    define_parts(&cluster).await;
    let whole = cluster.create(&PARTS, "default", "whole", &json!({})).await;
    // By another version of the kind than the one that is stored.
    let half = cluster.create(&PARTS, "default", "half", &owned_by(&whole, "example.com/v1beta1")).await;
    cluster.create(&CONFIG_MAPS, "default", "note", &owned_by(&half, "example.com/v1")).await;
    let kept = cluster.create(&PARTS, "default", "kept", &json!({})).await;
    cluster.create(&CONFIG_MAPS, "default", "kept", &owned_by(&kept, "example.com/v1")).await;
    cluster.client.delete(&PARTS, "default", "whole", &DeleteOptions::default()).await.unwrap();
    cluster.until_all(&PARTS, "default", ListOptions::default(), |left| names(left) == ["kept"]).await;
    let is_note = ListOptions::fields("metadata.name=note");
    cluster.until_all(&CONFIG_MAPS, "default", is_note, <[Value]>::is_empty).await;
    assert_eq!(
        cluster.list(&CONFIG_MAPS, "default").await.iter().filter(|map| map["metadata"]["name"] == "kept").count(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_foreground_custom_objects_wait_for_what_they_own() {
    let cluster = Cluster::with_nodes(0).await;
    define_parts(&cluster).await;
    let whole = cluster.create(&PARTS, "default", "whole", &json!({})).await;
    cluster.create(&CONFIG_MAPS, "default", "note", &owned_by(&whole, "example.com/v1")).await;
    let foreground = DeleteOptions::propagation(Propagation::Foreground);
    cluster.client.delete(&PARTS, "default", "whole", &foreground).await.unwrap();
    cluster.until_all(&PARTS, "default", ListOptions::default(), <[Value]>::is_empty).await;
    let is_note = ListOptions::fields("metadata.name=note");
    assert_eq!(cluster.client.list(&CONFIG_MAPS, "default", &is_note).await.unwrap().items, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_foreground_pods_go_first_and_the_deployment_last() {
    let cluster = Cluster::with_nodes(1).await;
    deployed(&cluster, 2).await;
    let foreground = DeleteOptions::propagation(Propagation::Foreground);
    let mut watch = cluster.client.watch(&DEPLOYMENTS, "default", ListOptions::default());
    cluster.client.delete(&DEPLOYMENTS, "default", "web", &foreground).await.unwrap();
    loop {
        if let Event::Deleted(_) = watch.next().await {
            break;
        }
    }
    assert_eq!(cluster.list(&REPLICA_SETS, "default").await, Vec::<Value>::new());
    assert_eq!(cluster.list(&PODS, "default").await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_namespace_takes_everything_in_it_along() {
    let cluster = Cluster::with_nodes(1).await;
    cluster.create(&NAMESPACES, "", "shop", &json!({})).await;
    cluster.create(&DEPLOYMENTS, "shop", "web", &workload("web", &json!({"replicas": 3}))).await;
    cluster
        .create(&SERVICES, "shop", "web", &json!({"spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}))
        .await;
    cluster.create(&SECRETS, "shop", "key", &json!({"stringData": {"a": "b"}})).await;
    cluster.until(&DEPLOYMENTS, "shop", "web", |found| found["status"]["availableReplicas"] == 3).await;
    cluster.client.delete(&NAMESPACES, "", "shop", &DeleteOptions::default()).await.unwrap();
    cluster
        .until_all(&NAMESPACES, "", ListOptions::default(), |all| {
            all.iter().all(|one| one["metadata"]["name"] != "shop")
        })
        .await;
    for gvr in [&DEPLOYMENTS, &REPLICA_SETS, &PODS, &SERVICES, &ENDPOINT_SLICES, &SECRETS, &CONFIG_MAPS] {
        assert_eq!(cluster.list(gvr, "shop").await, Vec::<Value>::new(), "{}", gvr.plural);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_account_of_a_namespace_comes_back_when_it_is_deleted() {
    let cluster = Cluster::with_nodes(0).await;
    cluster.create(&NAMESPACES, "", "shop", &json!({})).await;
    let first = cluster.until(&SERVICE_ACCOUNTS, "shop", "default", |_| true).await;
    cluster.until(&CONFIG_MAPS, "shop", "kube-root-ca.crt", |found| found["data"]["ca.crt"] == "certificate").await;
    cluster.client.delete(&SERVICE_ACCOUNTS, "shop", "default", &DeleteOptions::default()).await.unwrap();
    let uid = &first["metadata"]["uid"];
    cluster.until(&SERVICE_ACCOUNTS, "shop", "default", |found| found["metadata"]["uid"] != *uid).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_has_a_pod_network_of_its_own_and_gives_it_back() {
    let cluster = Cluster::with_nodes(3).await;
    let networks = |nodes: &[Value]| -> BTreeSet<String> {
        nodes.iter().filter_map(|node| node["spec"]["podCIDR"].as_str()).map(str::to_owned).collect()
    };
    let nodes = cluster.until_all(&NODES, "", ListOptions::default(), |nodes| networks(nodes).len() == 3).await;
    assert_eq!(networks(&nodes), ["10.244.0.0/24", "10.244.1.0/24", "10.244.2.0/24"].map(str::to_owned).into());
    let second = nodes.iter().find(|node| node["spec"]["podCIDR"] == "10.244.1.0/24").unwrap();
    let name = second["metadata"]["name"].as_str().unwrap();
    cluster.client.delete(&NODES, "", name, &DeleteOptions::default()).await.unwrap();
    cluster.add_node("another").await;
    let found = cluster.until(&NODES, "", "another", |node| node["spec"]["podCIDR"].is_string()).await;
    assert_eq!(found["spec"]["podCIDRs"], json!(["10.244.1.0/24"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_a_deleted_node_are_made_anew_elsewhere() {
    let cluster = Cluster::with_nodes(2).await;
    deployed(&cluster, 4).await;
    cluster.client.delete(&NODES, "", "node2", &DeleteOptions::default()).await.unwrap();
    cluster
        .until_all(&PODS, "default", ListOptions::default(), |pods| {
            pods.len() == 4 && pods.iter().all(|pod| pod["spec"]["nodeName"] == "node1")
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn controllers_go_on_after_the_server_was_away() {
    let mut cluster = Cluster::with_nodes(1).await;
    deployed(&cluster, 2).await;
    cluster.stop_server().await;
    cluster.start_server().await;
    cluster.client.scale(&DEPLOYMENTS, "default", "web", 4).await.unwrap();
    cluster.until(&DEPLOYMENTS, "default", "web", |found| found["status"]["availableReplicas"] == 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn controllers_that_start_again_find_nothing_to_write() {
    let mut cluster = Cluster::with_nodes(2).await;
    cluster
        .create(&SERVICES, "default", "web", &json!({"spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}))
        .await;
    deployed(&cluster, 3).await;
    let settled = quiet(&cluster).await;
    cluster.stop_controllers().await;
    cluster.start_controllers();
    // A write that only new controllers can answer shows that they are at work.
    cluster.create(&NAMESPACES, "", "probe", &json!({})).await;
    cluster.until(&SERVICE_ACCOUNTS, "probe", "default", |_| true).await;
    cluster.client.delete(&SERVICE_ACCOUNTS, "probe", "default", &DeleteOptions::default()).await.unwrap();
    cluster.until(&SERVICE_ACCOUNTS, "probe", "default", |_| true).await;
    quiet(&cluster).await;
    let written = cluster.list(&PODS, "default").await.into_iter().chain(cluster.list(&NODES, "").await);
    let written = written.chain(cluster.list(&DEPLOYMENTS, "default").await);
    let written = written.chain(cluster.list(&REPLICA_SETS, "default").await);
    for object in written.chain(cluster.list(&ENDPOINT_SLICES, "default").await) {
        let revision: u64 = object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
        assert!(revision <= settled, "written again: {object:#}");
    }
}

/// Waits until nothing has been written for a while, which only time can show; returns the last revision. On a busy
/// machine controllers may have to wait for their turn that long.
async fn quiet(cluster: &Cluster) -> u64 {
    let mut last = cluster.revision();
    loop {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let now = cluster.revision();
        if now == last {
            return now;
        }
        last = now;
    }
}
