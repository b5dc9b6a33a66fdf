//! What the server says of itself.

use serde_json::json;

use crate::support::{Ask, Cluster};

const V2: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const V2_BETA1: &str = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";

#[tokio::test]
async fn discovery_comes_in_the_form_asked_for_and_says_which() {
    let cluster = Cluster::start().await;
    for path in ["/api", "/apis"] {
        for (accept, media_type) in [
            (format!("{V2},{V2_BETA1},application/json"), V2),
            (format!("{V2_BETA1},application/json"), V2_BETA1),
            ("application/json".to_owned(), "application/json"),
        ] {
            let answer = cluster.ask(Ask::new("GET", path).header("accept", &accept)).await;
            assert_eq!((answer.code, answer.headers["content-type"].to_str().unwrap()), (200, media_type));
            let expected = if media_type == "application/json" { None } else { Some("APIGroupDiscoveryList") };
            assert_eq!(answer.body["kind"].as_str() == Some("APIGroupDiscoveryList"), expected.is_some());
        }
    }
    assert_eq!(cluster.get("/api/v1").await.body["kind"], "APIResourceList");
    assert_eq!(cluster.get("/apis/apps").await.body["preferredVersion"]["groupVersion"], "apps/v1");
    assert_eq!(cluster.get("/apis/apps/v2").await.code, 404);
}

#[tokio::test]
async fn a_document_the_client_has_is_not_sent_again() {
    let cluster = Cluster::start().await;
    let first = cluster.get("/apis").await;
    let etag = first.headers["etag"].to_str().unwrap();
    let again = cluster.ask(Ask::new("GET", "/apis").header("if-none-match", etag)).await;
    assert_eq!((again.code, again.text.as_str()), (304, ""));
}

#[tokio::test]
async fn every_group_version_has_an_openapi_document() {
    let cluster = Cluster::start().await;
    let index = cluster.get("/openapi/v3").await.body;
    let paths = index["paths"].as_object().unwrap();
    assert!(paths.contains_key("apis/apps/v1"));
    for entry in paths.values() {
        let document = cluster.get(entry["serverRelativeURL"].as_str().unwrap()).await;
        assert_eq!((document.code, &document.body["openapi"]), (200, &json!("3.0.0")), "{entry}");
    }
    assert_eq!(cluster.get("/openapi/v3/apis/nope/v1").await.code, 404);
}

#[tokio::test]
async fn requests_are_counted() {
    let cluster = Cluster::start().await;
    cluster.get("/api/v1/namespaces/default/pods/nope").await;
    let metrics = cluster.get("/metrics").await;
    let counted = "apiserver_request_total{verb=\"get\",group=\"\",version=\"v1\",resource=\"pods\",subresource=\"\",code=\"404\"} 1";
    assert!(metrics.text.contains(counted), "{}", metrics.text);
}

#[tokio::test]
async fn the_old_openapi_document_is_there_and_leaves_all_checks_to_the_server() {
    let cluster = Cluster::start().await;
    assert_eq!(cluster.get("/openapi/v2").await.body["paths"], json!({}));
    let go = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let answer = cluster.ask(Ask::new("GET", "/openapi/v2").header("accept", go)).await;
    assert_eq!((answer.code, answer.headers["content-type"].to_str().unwrap()), (200, &*go.replace('@', ".")));
    assert!(answer.text.starts_with("\n\u{3}2.0"), "{:?}", answer.text);
}

#[tokio::test]
async fn the_server_says_its_version_and_how_it_is() {
    let cluster = Cluster::start().await;
    let version = cluster.get("/version").await.body;
    assert_eq!((&version["gitVersion"], &version["minor"]), (&json!("v1.36.0+test"), &json!("36")));
    for path in ["/healthz", "/livez", "/readyz"] {
        assert_eq!(cluster.get(path).await.text, "ok");
    }
    assert!(cluster.get("/readyz?verbose").await.text.ends_with("readyz check passed\n"));
}
