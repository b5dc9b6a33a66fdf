//! Lists: pages, selectors, forms.

use serde_json::{Value, json};

use crate::support::{Ask, CONFIG_MAPS, Cluster, PODS, config_map, labelled, names, pod};

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

async fn create_many(cluster: &Cluster, all: &[&str]) {
    for name in all {
        cluster.create(CONFIG_MAPS, &config_map(name, json!({}))).await;
    }
    cluster.delete(&format!("{CONFIG_MAPS}/kube-root-ca.crt")).await;
}

#[tokio::test]
async fn pages_show_one_revision_whatever_happens_between_them() {
    let cluster = Cluster::start().await;
    create_many(&cluster, &["a", "b", "c", "d", "e"]).await;
    let first = cluster.get(&format!("{CONFIG_MAPS}?limit=2")).await.body;
    assert_eq!((names(&first), &first["metadata"]["remainingItemCount"]), (vec!["a", "b"], &json!(3)));
    cluster.delete(&format!("{CONFIG_MAPS}/c")).await;
    cluster.create(CONFIG_MAPS, &config_map("bb", json!({}))).await;
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = cluster.get(&format!("{CONFIG_MAPS}?limit=2&continue={token}")).await.body;
    assert_eq!(names(&second), ["c", "d"]);
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let token = second["metadata"]["continue"].as_str().unwrap();
    let third = cluster.get(&format!("{CONFIG_MAPS}?limit=2&continue={token}")).await.body;
    assert_eq!((names(&third), &third["metadata"]["continue"]), (vec!["e"], &Value::Null));
}

#[tokio::test]
async fn selectors_choose_by_label_and_by_field() {
    let cluster = Cluster::start().await;
    for (name, tier) in [("a", "front"), ("b", "back"), ("c", "back")] {
        cluster.create(CONFIG_MAPS, &labelled(name, json!({ "tier": tier }))).await;
    }
    let list = |query: &str| {
        let (path, cluster) = (format!("{CONFIG_MAPS}?{query}"), &cluster);
        async move { names(&cluster.get(&path).await.body).join(" ") }
    };
    assert_eq!(list("labelSelector=tier%3Dback").await, "b c");
    assert_eq!(list("labelSelector=tier+in+(front,back),tier!%3Dback").await, "a");
    assert_eq!(list("labelSelector=!tier").await, "kube-root-ca.crt");
    assert_eq!(list("fieldSelector=metadata.name%3Db").await, "b");
    let bad = cluster.get(&format!("{CONFIG_MAPS}?labelSelector=%3D%3D")).await;
    assert_eq!(bad.code, 400);
    let unsupported = cluster.get(&format!("{CONFIG_MAPS}?fieldSelector=data.k%3Db")).await;
    assert_eq!(unsupported.code, 400);
}

#[tokio::test]
async fn a_list_that_took_too_long_can_go_on_in_the_present() {
    let cluster = Cluster::start_forgetful().await;
    create_many(&cluster, &["a", "b", "c"]).await;
    let first = cluster.get(&format!("{CONFIG_MAPS}?limit=1")).await.body;
    let token = first["metadata"]["continue"].as_str().unwrap();
    for change in 0..10 {
        cluster.put(&format!("{CONFIG_MAPS}/c"), &config_map("c", json!({ "k": change.to_string() }))).await;
    }
    let expired = cluster.get(&format!("{CONFIG_MAPS}?limit=1&continue={token}")).await;
    assert_eq!((expired.code, &expired.body["reason"]), (410, &json!("Expired")));
    let token = expired.body["metadata"]["continue"].as_str().unwrap();
    let rest = cluster.get(&format!("{CONFIG_MAPS}?continue={token}")).await.body;
    assert_eq!((names(&rest), &rest["items"][1]["data"]["k"]), (vec!["b", "c"], &json!("9")));
}

#[tokio::test]
async fn a_cluster_wide_list_spans_namespaces() {
    let cluster = Cluster::start().await;
    cluster.create(PODS, &pod("a")).await;
    cluster.create("/api/v1/namespaces/kube-system/pods", &pod("b")).await;
    let list = cluster.get("/api/v1/pods").await.body;
    assert_eq!((names(&list), &list["kind"], &list["apiVersion"]), (vec!["a", "b"], &json!("PodList"), &json!("v1")));
}

#[tokio::test]
async fn a_list_of_an_exact_revision_is_the_past() {
    let cluster = Cluster::start().await;
    create_many(&cluster, &["a"]).await;
    let revision = cluster.get(CONFIG_MAPS).await.body["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    create_many(&cluster, &["b"]).await;
    let path = |matching: &str| format!("{CONFIG_MAPS}?resourceVersion={revision}&resourceVersionMatch={matching}");
    assert_eq!(names(&cluster.get(&path("Exact")).await.body), ["a"]);
    assert_eq!(names(&cluster.get(&path("NotOlderThan")).await.body), ["a", "b"]);
    let future = cluster.get(&format!("{CONFIG_MAPS}?resourceVersion=999999999")).await;
    assert_eq!((future.code, &future.body["reason"]), (504, &json!("Timeout")));
}

#[tokio::test]
async fn a_table_has_columns_and_rows_with_metadata() {
    let cluster = Cluster::start().await;
    create_many(&cluster, &["a"]).await;
    let table = cluster.ask(Ask::new("GET", CONFIG_MAPS).header("accept", TABLE)).await.body;
    assert_eq!((&table["kind"], &table["apiVersion"]), (&json!("Table"), &json!("meta.k8s.io/v1")));
    assert_eq!(table["columnDefinitions"][0]["name"], "Name");
    assert_eq!(table["rows"][0]["cells"][0], "a");
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let ask = Ask::new("GET", &format!("{CONFIG_MAPS}?includeObject=Object")).header("accept", TABLE);
    assert_eq!(cluster.ask(ask).await.body["rows"][0]["object"]["kind"], "ConfigMap");
}

#[tokio::test]
async fn metadata_alone_can_be_listed() {
    let cluster = Cluster::start().await;
    create_many(&cluster, &["a"]).await;
    let accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let list = cluster.ask(Ask::new("GET", CONFIG_MAPS).header("accept", accept)).await.body;
    assert_eq!((&list["kind"], names(&list)), (&json!("PartialObjectMetadataList"), vec!["a"]));
    assert_eq!(list["items"][0]["data"], Value::Null);
}
