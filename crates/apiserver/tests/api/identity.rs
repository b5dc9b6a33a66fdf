//! Who may call, and as whom.

use std::io::ErrorKind;

use apiserver::tls::Authority;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Answer, Ask, CONFIG_MAPS, Cluster, PODS, pod};

const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const WHO_AM_I: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

async fn token(cluster: &Cluster, spec: Value) -> String {
    let body = json!({ "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": spec });
    let issued = cluster.create(&format!("{ACCOUNTS}/web/token"), &body).await;
    assert!(issued["status"]["expirationTimestamp"].is_string());
    issued["status"]["token"].as_str().unwrap().to_owned()
}

async fn ask_with_token(cluster: &Cluster, token: &str) -> Answer {
    let ask = Ask::new("POST", WHO_AM_I).json(&json!({}));
    cluster.ask_tls(None, ask.header("authorization", &format!("Bearer {token}"))).await
}

#[tokio::test]
async fn a_client_certificate_names_the_user_and_the_groups() {
    let cluster = Cluster::start().await;
    let certificate = cluster.authority.client_certificate("jane", &["team"]).unwrap();
    let review = cluster.ask_tls(Some(&certificate), Ask::new("POST", WHO_AM_I).json(&json!({}))).await;
    let user = &review.body["status"]["userInfo"];
    assert_eq!(user, &json!({ "username": "jane", "groups": ["team", "system:authenticated"] }));
}

#[tokio::test]
async fn nobody_in_particular_may_only_ask_how_the_server_is() {
    let cluster = Cluster::start().await;
    for path in ["/healthz", "/livez", "/readyz", "/version"] {
        assert_eq!(cluster.ask_tls(None, Ask::new("GET", path)).await.code, 200, "{path}");
    }
    for path in ["/api", "/apis", CONFIG_MAPS, "/openapi/v3"] {
        assert_eq!(cluster.ask_tls(None, Ask::new("GET", path)).await.refusal(), (401, "Unauthorized"), "{path}");
    }
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let cluster = Cluster::start().await;
    let foreign = Authority::create(Timestamp::now()).unwrap().client_certificate("jane", &["system:masters"]).unwrap();
    let mut stream = cluster.connect_tls(Some(&foreign)).await;
    // TLS 1.3 tells the client only when it reads.
    let written = stream.write_all(b"GET /api HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let read = stream.read(&mut [0; 16]).await;
    let error = written.err().or(read.err()).expect("a refusal");
    assert!(matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn a_service_account_speaks_with_its_token() {
    let cluster = Cluster::start().await;
    cluster.create(ACCOUNTS, &json!({ "metadata": { "name": "web" } })).await;
    let token = token(&cluster, json!({})).await;
    let review = ask_with_token(&cluster, &token).await;
    assert_eq!(review.code, 201, "{}", review.text);
    let user = &review.body["status"]["userInfo"];
    assert_eq!(user["username"], "system:serviceaccount:default:web");
    assert_eq!(user["groups"][1], "system:serviceaccounts:default");
    assert_eq!(ask_with_token(&cluster, &format!("{token}x")).await.code, 401);
    cluster.delete(&format!("{ACCOUNTS}/web")).await;
    cluster.create(ACCOUNTS, &json!({ "metadata": { "name": "web" } })).await;
    assert_eq!(ask_with_token(&cluster, &token).await.code, 401, "the account it was made for is gone");
}

#[tokio::test]
async fn a_token_bound_to_a_pod_ends_with_it() {
    let cluster = Cluster::start().await;
    cluster.create(ACCOUNTS, &json!({ "metadata": { "name": "web" } })).await;
    let uid = cluster.create(PODS, &pod("p")).await["metadata"]["uid"].clone();
    let bound = json!({ "boundObjectRef": { "kind": "Pod", "apiVersion": "v1", "name": "p", "uid": uid } });
    let token = token(&cluster, bound).await;
    let review = ask_with_token(&cluster, &token).await.body;
    assert_eq!(review["status"]["userInfo"]["extra"]["authentication.kubernetes.io/pod-name"], json!(["p"]));
    cluster.delete(&format!("{PODS}/p")).await;
    assert_eq!(ask_with_token(&cluster, &token).await.code, 401);
}

#[tokio::test]
async fn a_token_for_another_audience_opens_nothing_here_and_can_be_reviewed() {
    let cluster = Cluster::start().await;
    cluster.create(ACCOUNTS, &json!({ "metadata": { "name": "web" } })).await;
    let token = token(&cluster, json!({ "audiences": ["vault"] })).await;
    assert_eq!(ask_with_token(&cluster, &token).await.code, 401);
    let review = |audience: &str| json!({ "spec": { "token": token, "audiences": [audience] } });
    let path = "/apis/authentication.k8s.io/v1/tokenreviews";
    assert_eq!(cluster.create(path, &review("vault")).await["status"]["authenticated"], true);
    assert_eq!(cluster.create(path, &review("other")).await["status"]["authenticated"], false);
}

#[tokio::test]
async fn a_token_must_live_for_ten_minutes_at_least() {
    let cluster = Cluster::start().await;
    cluster.create(ACCOUNTS, &json!({ "metadata": { "name": "web" } })).await;
    let refused = cluster.post(&format!("{ACCOUNTS}/web/token"), &json!({ "spec": { "expirationSeconds": 60 } })).await;
    assert_eq!(refused.code, 422);
    assert_eq!(refused.body["details"]["causes"][0]["field"], "spec.expirationSeconds");
}
