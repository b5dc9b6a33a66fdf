//! From pods to the endpoints of their Services.

use apiserver::client::{DEPLOYMENTS, ENDPOINT_SLICES, ENDPOINTS, ListOptions, PODS, Patch, SERVICES, object};
use serde_json::{Value, json};

use crate::cluster::{Cluster, workload};

fn select(service: &str) -> ListOptions {
    ListOptions::labels(&format!("kubernetes.io/service-name={service}"))
}

/// How many endpoints are ready, and how many there are.
fn tally(slices: &[Value]) -> (usize, usize) {
    let endpoints: Vec<&Value> = slices.iter().filter_map(|slice| slice["endpoints"].as_array()).flatten().collect();
    (endpoints.iter().filter(|endpoint| endpoint["conditions"]["ready"] == true).count(), endpoints.len())
}

async fn web(cluster: &Cluster, replicas: u32) {
    let service =
        json!({"spec": {"selector": {"app": "web"}, "ports": [{"name": "web", "port": 80, "targetPort": "http"}]}});
    cluster.create(&SERVICES, "default", "web", &service).await;
    cluster.create(&DEPLOYMENTS, "default", "web", &workload("web", &json!({"replicas": replicas}))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_has_its_ready_pods_in_slices_and_in_its_endpoints_object() {
    let cluster = Cluster::with_nodes(2).await;
    web(&cluster, 3).await;
    let slices = cluster.until_all(&ENDPOINT_SLICES, "default", select("web"), |slices| tally(slices) == (3, 3)).await;
    let [slice] = &slices[..] else { panic!("{slices:#?}") };
    assert_eq!(slice["ports"], json!([{"name": "web", "port": 80, "protocol": "TCP"}]));
    let endpoint = &slice["endpoints"][0];
    assert_eq!(endpoint["conditions"], json!({"ready": true, "serving": true, "terminating": false}));
    assert_eq!(endpoint["targetRef"]["kind"], "Pod");
    assert!(endpoint["nodeName"].is_string());
    assert!(slice["metadata"]["annotations"]["endpoints.kubernetes.io/last-change-trigger-time"].is_string());
    let found = cluster
        .until(&ENDPOINTS, "default", "web", |found| {
            found["subsets"][0]["addresses"].as_array().map(Vec::len) == Some(3)
        })
        .await;
    assert_eq!(found["subsets"][0]["ports"], json!([{"name": "web", "port": 80, "protocol": "TCP"}]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unready_pod_leaves_the_ready_endpoints_and_comes_back() {
    let cluster = Cluster::with_nodes(1).await;
    web(&cluster, 2).await;
    cluster.until_all(&ENDPOINT_SLICES, "default", select("web"), |slices| tally(slices) == (2, 2)).await;
    let pods = cluster.pods("app=web").await;
    for (status, expected) in [("False", (1, 2)), ("True", (2, 2))] {
        let ready = json!({"status": {"conditions": [{"type": "Ready", "status": status}]}});
        let name = object::name(&pods[0]);
        cluster.client.patch_status(&PODS, "default", name, &Patch::Strategic(ready)).await.unwrap();
        cluster.until_all(&ENDPOINT_SLICES, "default", select("web"), |slices| tally(slices) == expected).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ending_pod_is_terminating_in_its_slice_while_it_still_serves() {
    let cluster = Cluster::with_nodes(1).await;
    web(&cluster, 1).await;
    cluster.until_all(&ENDPOINT_SLICES, "default", select("web"), |slices| tally(slices) == (1, 1)).await;
    let pod = cluster.pods("app=web").await.remove(0);
    // Held, so that the moment between the deletion and the end lasts.
    cluster
        .merge(&PODS, "default", object::name(&pod), json!({"metadata": {"finalizers": ["example.com/hold"]}}))
        .await;
    let options = apiserver::client::DeleteOptions::default();
    cluster.client.delete(&PODS, "default", object::name(&pod), &options).await.unwrap();
    let is_ending = |slices: &[Value]| {
        let endpoints = slices.iter().filter_map(|slice| slice["endpoints"].as_array()).flatten();
        let ending = json!({"ready": false, "serving": true, "terminating": true});
        endpoints.into_iter().any(|endpoint| endpoint["conditions"] == ending)
    };
    cluster.until_all(&ENDPOINT_SLICES, "default", select("web"), is_ending).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_and_twenty_pods_fill_two_slices() {
    let cluster = Cluster::with_nodes(2).await;
    web(&cluster, 120).await;
    let slices =
        cluster.until_all(&ENDPOINT_SLICES, "default", select("web"), |slices| tally(slices) == (120, 120)).await;
    let mut sizes: Vec<_> = slices.iter().map(|slice| slice["endpoints"].as_array().unwrap().len()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [20, 100]);
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_written_by_hand_are_mirrored_into_a_slice() {
    let cluster = Cluster::with_nodes(0).await;
    cluster.create(&SERVICES, "default", "db", &json!({"spec": {"ports": [{"port": 5432}]}})).await;
    let subsets = json!([{"addresses": [{"ip": "192.0.2.7"}], "ports": [{"port": 5432}]}]);
    cluster.create(&ENDPOINTS, "default", "db", &json!({"subsets": subsets})).await;
    let slices = cluster.until_all(&ENDPOINT_SLICES, "default", select("db"), |slices| tally(slices) == (1, 1)).await;
    assert_eq!(slices[0]["endpoints"][0]["addresses"], json!(["192.0.2.7"]));

    cluster.merge(&ENDPOINTS, "default", "db", json!({"subsets": null})).await;
    cluster.until_all(&ENDPOINT_SLICES, "default", select("db"), |slices| tally(slices) == (0, 0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slices_of_a_deleted_service_go_with_it() {
    let cluster = Cluster::with_nodes(1).await;
    web(&cluster, 1).await;
    cluster.until_all(&ENDPOINT_SLICES, "default", select("web"), |slices| tally(slices) == (1, 1)).await;
    cluster.client.delete(&SERVICES, "default", "web", &Default::default()).await.unwrap();
    cluster.until_all(&ENDPOINT_SLICES, "default", select("web"), <[Value]>::is_empty).await;
}
