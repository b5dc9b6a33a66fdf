//! Who may do what.

use serde_json::{Value, json};

use crate::support::{Answer, Ask, CONFIG_MAPS, Cluster, PODS, pod};

const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles";
const BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
const CLUSTER_BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
const MY_ACCESS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
const MERGE_PATCH: &str = "application/merge-patch+json";
const ALL_PODS: &str = "/api/v1/pods";

fn role(name: &str, rule: &Value) -> Value {
    json!({ "metadata": { "name": name }, "rules": [rule] })
}

fn binding(name: &str, kind: &str, role: &str, user: &str) -> Value {
    json!({
        "metadata": { "name": name },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role },
        "subjects": [{ "kind": "User", "name": user }],
    })
}

async fn as_jane(cluster: &Cluster, ask: Ask<'_>) -> Answer {
    let certificate = cluster.authority.client_certificate("jane", &["team"]).unwrap();
    cluster.ask_tls(Some(&certificate), ask).await
}

async fn get_as_jane(cluster: &Cluster, path: &str) -> Answer {
    as_jane(cluster, Ask::new("GET", path)).await
}

#[tokio::test]
async fn without_a_role_a_user_may_look_around_and_nothing_else() {
    let cluster = Cluster::start().await;
    for path in ["/api", "/apis", "/apis/apps/v1", "/openapi/v3"] {
        assert_eq!(get_as_jane(&cluster, path).await.code, 200, "{path}");
    }
    let refused = get_as_jane(&cluster, PODS).await;
    let message = "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" \
                   in the namespace \"default\"";
    assert_eq!((refused.code, refused.body["message"].as_str()), (403, Some(message)));
    assert_eq!(refused.body["details"], json!({ "kind": "pods" }));
    let refused = get_as_jane(&cluster, "/metrics").await;
    assert_eq!(refused.refusal(), (403, "forbidden: User \"jane\" cannot get path \"/metrics\""));
}

#[tokio::test]
async fn a_binding_in_a_namespace_is_for_that_namespace() {
    let cluster = Cluster::start().await;
    cluster.create(BINDINGS, &binding("jane", "ClusterRole", "view", "jane")).await;
    cluster.create(PODS, &pod("p")).await;
    assert_eq!(get_as_jane(&cluster, PODS).await.code, 200);
    assert_eq!(get_as_jane(&cluster, &format!("{PODS}/p")).await.code, 200);
    assert_eq!(get_as_jane(&cluster, "/api/v1/namespaces/default").await.code, 200);
    assert_eq!(get_as_jane(&cluster, ALL_PODS).await.code, 403);
    assert_eq!(get_as_jane(&cluster, "/api/v1/namespaces/kube-system/pods").await.code, 403);
    assert_eq!(as_jane(&cluster, Ask::new("DELETE", &format!("{PODS}/p"))).await.code, 403);
    cluster.delete(&format!("{BINDINGS}/jane")).await;
    assert_eq!(get_as_jane(&cluster, PODS).await.code, 403, "it ends with the binding");
}

#[tokio::test]
async fn a_cluster_role_that_aggregates_has_the_rules_of_its_parts() {
    let cluster = Cluster::start().await;
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    let sum = json!({
        "metadata": { "name": "sum" }, "rules": [],
        "aggregationRule": { "clusterRoleSelectors": [{ "matchLabels": { "part-of": "sum" } }] },
    });
    cluster.create(roles, &sum).await;
    cluster.create(CLUSTER_BINDINGS, &binding("jane", "ClusterRole", "sum", "jane")).await;
    assert_eq!(get_as_jane(&cluster, ALL_PODS).await.code, 403);
    let mut part = role("part", &json!({ "verbs": ["list"], "apiGroups": [""], "resources": ["pods"] }));
    part["metadata"]["labels"] = json!({ "part-of": "sum" });
    cluster.create(roles, &part).await;
    assert_eq!(get_as_jane(&cluster, ALL_PODS).await.code, 200);
}

#[tokio::test]
async fn nobody_grants_what_he_has_not() {
    let cluster = Cluster::start().await;
    cluster.create(BINDINGS, &binding("jane", "ClusterRole", "admin", "jane")).await;
    let make = async |path: &str, object: &Value| as_jane(&cluster, Ask::new("POST", path).json(object)).await;
    let own = role("own", &json!({ "verbs": ["get"], "apiGroups": [""], "resources": ["pods"] }));
    assert_eq!(make(ROLES, &own).await.code, 201, "an administrator of a namespace may pass on what he has");
    let more = role("more", &json!({ "verbs": ["get"], "apiGroups": [""], "resources": ["nodes"] }));
    let refused = make(ROLES, &more).await;
    let (code, message) = refused.refusal();
    assert_eq!(code, 403);
    assert!(message.contains("attempting to grant RBAC permissions not currently held"), "{message}");
    assert_eq!(make(BINDINGS, &binding("b", "ClusterRole", "edit", "joe")).await.code, 201);
    assert_eq!(make(BINDINGS, &binding("c", "ClusterRole", "cluster-admin", "joe")).await.code, 403);
    assert_eq!(make(BINDINGS, &binding("d", "ClusterRole", "no-such-role", "joe")).await.code, 403);
    assert_eq!(make(CLUSTER_BINDINGS, &binding("e", "ClusterRole", "view", "joe")).await.code, 403);
}

#[tokio::test]
async fn nobody_makes_an_aggregated_role_gather_what_he_has_not() {
    let cluster = Cluster::start().await;
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    let rule = json!({
        "verbs": ["create", "get", "patch"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"],
    });
    cluster.create(roles, &role("editor", &rule)).await;
    cluster.create(CLUSTER_BINDINGS, &binding("jane", "ClusterRole", "editor", "jane")).await;
    let patch = async |name: &str, patch: &Value| {
        let mut ask = Ask::new("PATCH", &format!("{roles}/{name}")).header("content-type", MERGE_PATCH);
        ask.body = patch.to_string().into_bytes();
        as_jane(&cluster, ask).await.code
    };
    let gather = json!({ "aggregationRule": { "clusterRoleSelectors": [{ "matchLabels": { "a": "b" } }] } });
    assert_eq!(patch("editor", &gather).await, 403, "whatever is labelled so now or later");
    let label = json!({ "metadata": { "labels": { "a": "b" } } });
    assert_eq!(patch("cluster-admin", &label).await, 403, "a role that another gathers from is a grant");
    assert_eq!(patch("editor", &label).await, 200, "what one holds one may pass on");
}

#[tokio::test]
async fn may_i_is_answered_as_the_request_would_be() {
    let cluster = Cluster::start().await;
    cluster.create(BINDINGS, &binding("jane", "ClusterRole", "view", "jane")).await;
    for (verb, namespace, expected) in [("list", "default", true), ("delete", "default", false), ("list", "", false)] {
        let asked = json!({ "verb": verb, "resource": "pods", "namespace": namespace });
        let review = json!({ "spec": { "resourceAttributes": asked } });
        let answer = as_jane(&cluster, Ask::new("POST", MY_ACCESS).json(&review)).await;
        assert_eq!(answer.body["status"]["allowed"], expected, "{verb} {namespace}: {}", answer.text);
    }
    let spec = json!({ "user": "jane", "nonResourceAttributes": { "verb": "get", "path": "/api" } });
    let about = |groups: Value| {
        let mut spec = spec.clone();
        spec["groups"] = groups;
        json!({ "spec": spec })
    };
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    assert_eq!(cluster.create(path, &about(json!([]))).await["status"]["allowed"], false);
    assert_eq!(cluster.create(path, &about(json!(["system:authenticated"]))).await["status"]["allowed"], true);
}

#[tokio::test]
async fn who_may_impersonate_acts_with_the_rights_of_another() {
    let cluster = Cluster::start().await;
    let admin = cluster.authority.client_certificate("admin", &["system:masters"]).unwrap();
    let list = |user: &str| Ask::new("GET", PODS).header("impersonate-user", user);
    assert_eq!(cluster.ask_tls(Some(&admin), list("jane")).await.code, 403);
    cluster.create(BINDINGS, &binding("jane", "ClusterRole", "view", "jane")).await;
    assert_eq!(cluster.ask_tls(Some(&admin), list("jane")).await.code, 200);
    let refused = as_jane(&cluster, list("admin")).await;
    let message = "users \"admin\" is forbidden: User \"jane\" cannot impersonate resource \"users\" in API group \"\" \
                   at the cluster scope";
    assert_eq!(refused.refusal(), (403, message));
}

#[tokio::test]
async fn a_role_for_one_object_is_for_that_object() {
    let cluster = Cluster::start().await;
    let rule = json!({ "verbs": ["get"], "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["mine"] });
    cluster.create(ROLES, &role("mine", &rule)).await;
    cluster.create(BINDINGS, &binding("jane", "Role", "mine", "jane")).await;
    for name in ["mine", "yours"] {
        cluster.create(CONFIG_MAPS, &json!({ "metadata": { "name": name } })).await;
    }
    assert_eq!(get_as_jane(&cluster, &format!("{CONFIG_MAPS}/mine")).await.code, 200);
    assert_eq!(get_as_jane(&cluster, &format!("{CONFIG_MAPS}/yours")).await.code, 403);
    assert_eq!(get_as_jane(&cluster, CONFIG_MAPS).await.code, 403);
}
