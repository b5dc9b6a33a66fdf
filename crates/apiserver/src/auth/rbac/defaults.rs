//! The roles and bindings every cluster starts with: those of Kubernetes that are for users, over the kinds there are here.

use serde_json::{Value, json};

use super::GROUP;

const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "delete", "deletecollection", "patch", "update"];
const EVERY_VERB: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
/// What a member of a namespace may see, by group.
const VIEWED: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "configmaps",
            "endpoints",
            "events",
            "limitranges",
            "namespaces",
            "namespaces/status",
            "pods",
            "pods/log",
            "pods/status",
            "resourcequotas",
            "resourcequotas/status",
            "serviceaccounts",
            "services",
            "services/status",
        ],
    ),
    (
        "apps",
        &[
            "controllerrevisions",
            "daemonsets",
            "daemonsets/status",
            "deployments",
            "deployments/scale",
            "deployments/status",
            "replicasets",
            "replicasets/scale",
            "replicasets/status",
            "statefulsets",
            "statefulsets/scale",
            "statefulsets/status",
        ],
    ),
    ("discovery.k8s.io", &["endpointslices"]),
    ("events.k8s.io", &["events"]),
    ("networking.k8s.io", &["ingresses", "ingresses/status", "networkpolicies"]),
    ("policy", &["poddisruptionbudgets", "poddisruptionbudgets/status"]),
];
/// What an editor of a namespace may change, by group. Not the slices: whoever can write them can send a Service's
/// clients anywhere.
const EDITED: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "configmaps",
            "events",
            "pods",
            "pods/attach",
            "pods/eviction",
            "pods/exec",
            "pods/portforward",
            "pods/proxy",
            "secrets",
            "serviceaccounts",
            "serviceaccounts/token",
            "services",
            "services/proxy",
        ],
    ),
    (
        "apps",
        &[
            "daemonsets",
            "deployments",
            "deployments/rollback",
            "deployments/scale",
            "replicasets",
            "replicasets/scale",
            "statefulsets",
            "statefulsets/scale",
        ],
    ),
    ("networking.k8s.io", &["ingresses", "networkpolicies"]),
    ("policy", &["poddisruptionbudgets"]),
];
const SECRETS: &[(&str, &[&str])] =
    &[("", &["pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "secrets", "services/proxy"])];
const ADMINISTERED: &[(&str, &[&str])] = &[(GROUP, &["rolebindings", "roles"])];
const REVIEWED_LOCALLY: &[(&str, &[&str])] = &[("authorization.k8s.io", &["localsubjectaccessreviews"])];
const REVIEWED_OF_ONESELF: &[(&str, &[&str])] = &[
    ("authorization.k8s.io", &["selfsubjectaccessreviews", "selfsubjectrulesreviews"]),
    ("authentication.k8s.io", &["selfsubjectreviews"]),
];
const DISCOVERY: &[&str] =
    &["/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz", "/version"];
const TOKEN_KEYS: &[&str] = &["/.well-known/openid-configuration", "/openid/v1/jwks"];
const STATUS: &[&str] =
    &["/healthz", "/healthz/*", "/livez", "/livez/*", "/metrics", "/metrics/*", "/readyz", "/readyz/*"];

/// One role and the group it is bound to, if any.
struct Default {
    name: &'static str,
    rules: Vec<Value>,
    group: Option<&'static str>,
}

/// The objects, each with the plural of its kind.
pub(crate) fn default_objects() -> Vec<(&'static str, Value)> {
    let everything = json!([
        { "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"] },
        { "verbs": ["*"], "nonResourceURLs": ["*"] },
    ]);
    let masters = Default { name: "cluster-admin", rules: Vec::new(), group: Some("system:masters") };
    let mut objects = vec![("clusterroles", role(masters.name, &everything)), masters.binding()];
    for default in roles() {
        objects.push(("clusterroles", role(default.name, &json!(default.rules))));
        objects.extend(default.group.is_some().then(|| default.binding()));
    }
    objects
}

fn roles() -> Vec<Default> {
    let view = rules(READ, VIEWED);
    let edit = [rules(READ, VIEWED), rules(READ, SECRETS), rules(WRITE, EDITED)].concat();
    let admin = [edit.clone(), rules(EVERY_VERB, ADMINISTERED), rules(&["create"], REVIEWED_LOCALLY)].concat();
    let authenticated = Some("system:authenticated");
    vec![
        Default { name: "view", rules: view, group: None },
        Default { name: "edit", rules: edit, group: None },
        Default { name: "admin", rules: admin, group: None },
        Default { name: "system:basic-user", rules: rules(&["create"], REVIEWED_OF_ONESELF), group: authenticated },
        Default { name: "system:discovery", rules: vec![paths(DISCOVERY)], group: authenticated },
        Default { name: "system:monitoring", rules: vec![paths(STATUS)], group: Some("system:monitoring") },
        Default {
            name: "system:service-account-issuer-discovery",
            rules: vec![paths(TOKEN_KEYS)],
            group: Some("system:serviceaccounts"),
        },
    ]
}

fn rules(verbs: &[&str], resources: &[(&str, &[&str])]) -> Vec<Value> {
    let rule =
        |(group, resources): &(&str, &[&str])| json!({ "verbs": verbs, "apiGroups": [group], "resources": resources });
    resources.iter().map(rule).collect()
}

fn paths(urls: &[&str]) -> Value {
    json!({ "verbs": ["get"], "nonResourceURLs": urls })
}

fn role(name: &str, rules: &Value) -> Value {
    json!({ "apiVersion": format!("{GROUP}/v1"), "kind": "ClusterRole", "metadata": metadata(name), "rules": rules })
}

fn metadata(name: &str) -> Value {
    json!({ "name": name, "labels": { "kubernetes.io/bootstrapping": "rbac-defaults" } })
}

impl Default {
    fn binding(&self) -> (&'static str, Value) {
        let binding = json!({
            "apiVersion": format!("{GROUP}/v1"), "kind": "ClusterRoleBinding", "metadata": metadata(self.name),
            "roleRef": { "apiGroup": GROUP, "kind": "ClusterRole", "name": self.name },
            "subjects": [{ "apiGroup": GROUP, "kind": "Group", "name": self.group }],
        });
        ("clusterrolebindings", binding)
    }
}
