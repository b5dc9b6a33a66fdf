//! Objects that the measurements and the storm work with, as JSON.

use serde_json::{Value, json};

use super::versions::IMAGES;

/// A namespace.
pub fn namespace(name: &str) -> String {
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } }).to_string()
}

/// A share of the processor's time for a container that measures or is measured: without one it gets what all others
/// leave.
pub fn cpu_request() -> Value {
    json!({ "requests": { "cpu": "100m" } })
}

/// A Deployment `server` that answers HTTP at port 8080, spread over the nodes.
pub fn server(namespace: &str, replicas: usize) -> String {
    let labels = json!({ "app": "server" });
    let container = json!({
        "name": "server",
        "image": IMAGES[0].name,
        "args": ["netexec"],
        "resources": cpu_request(),
        "readinessProbe": { "httpGet": { "path": "/healthz", "port": 8080 }, "periodSeconds": 1 },
    });
    let spread = json!({
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": { "matchLabels": labels },
    });
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": "server", "namespace": namespace },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": {
                    "terminationGracePeriodSeconds": 0,
                    "topologySpreadConstraints": [spread],
                    "containers": [container],
                },
            },
        },
    })
    .to_string()
}
