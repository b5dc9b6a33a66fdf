//! Addresses and ports of Services.

use serde_json::{Value, json};

use crate::support::{Cluster, SERVICES, service};

fn cluster_ip(service: &Value) -> &str {
    service["spec"]["clusterIP"].as_str().unwrap()
}

#[tokio::test]
async fn the_api_is_a_service_with_endpoints() {
    let cluster = Cluster::start().await;
    assert_eq!(cluster_ip(&cluster.get(&format!("{SERVICES}/kubernetes")).await.body), "10.96.0.1");
    let endpoints = cluster.get("/api/v1/namespaces/default/endpoints/kubernetes").await.body;
    assert_eq!(endpoints["subsets"][0]["addresses"][0]["ip"], "192.0.2.1");
    let slice = cluster.get("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes").await.body;
    assert_eq!(
        (&slice["endpoints"][0]["addresses"], &slice["ports"][0]["port"]),
        (&json!(["192.0.2.1"]), &json!(6443))
    );
}

#[tokio::test]
async fn an_address_belongs_to_one_service_until_it_is_deleted() {
    let cluster = Cluster::start().await;
    let chosen = json!({ "clusterIP": "10.96.0.77" });
    cluster.create(SERVICES, &service("a", chosen.clone())).await;
    let refused = cluster.post(SERVICES, &service("b", chosen.clone())).await;
    assert_eq!(refused.code, 422);
    assert!(refused.text.contains("provided IP is already allocated"), "{}", refused.text);
    cluster.delete(&format!("{SERVICES}/a")).await;
    cluster.create(SERVICES, &service("b", chosen)).await;
}

#[tokio::test]
async fn a_refused_or_dry_write_takes_nothing() {
    let cluster = Cluster::start().await;
    let chosen = json!({ "clusterIP": "10.96.0.78", "type": "NodePort", "ports": [{ "port": 80, "nodePort": 30005 }] });
    let dry = cluster.post(&format!("{SERVICES}?dryRun=All"), &service("a", chosen.clone())).await;
    assert_eq!((dry.code, cluster_ip(&dry.body)), (201, "10.96.0.78"));
    let mut broken = service("b", chosen.clone());
    broken["spec"]["sessionAffinity"] = json!("Sometimes");
    assert_eq!(cluster.post(SERVICES, &broken).await.code, 422);
    cluster.create(SERVICES, &service("c", chosen)).await;
}

#[tokio::test]
async fn node_ports_are_handed_out_until_none_is_left() {
    let cluster = Cluster::start().await;
    // The range of the test has eleven ports.
    for index in 0..11 {
        let created = cluster.create(SERVICES, &service(&format!("s{index}"), json!({ "type": "NodePort" }))).await;
        let port = created["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
        assert!((30000..=30010).contains(&port));
    }
    let full = cluster.post(SERVICES, &service("one-more", json!({ "type": "NodePort" }))).await;
    assert_eq!((full.code, &full.body["reason"]), (500, &json!("InternalError")));
    let freed = json!({ "spec": { "type": "ClusterIP" } });
    assert_eq!(cluster.patch("merge-patch", &format!("{SERVICES}/s0"), &freed).await.code, 200);
    cluster.create(SERVICES, &service("one-more", json!({ "type": "NodePort" }))).await;
}

#[tokio::test]
async fn addresses_are_still_taken_after_a_restart() {
    let cluster = Cluster::start().await;
    let created = cluster.create(SERVICES, &service("a", json!({}))).await;
    let cluster = cluster.restart().await;
    let again = cluster.post(SERVICES, &service("b", json!({ "clusterIP": cluster_ip(&created) }))).await;
    assert_eq!(again.code, 422);
}
