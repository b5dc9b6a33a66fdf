//! A thousand Services, and change among them.

use anyhow::Result;
use serde_json::{Value, json};

use super::Bench;
use crate::lab::workloads::namespace;

const NAMESPACE: &str = "cost-services";
const SERVICES: usize = 1000;
/// How many EndpointSlices change in one round.
pub const CHANGED: usize = 50;

/// A thousand Services with two endpoints each.
pub fn create(bench: &Bench<'_>) -> Result<()> {
    bench.cluster.apply(&namespace(NAMESPACE))?;
    let objects: Vec<Value> = (0..SERVICES).flat_map(|number| [service(number), slice(number, 0)]).collect();
    bench.cluster.create(&list(&objects))
}

/// Gives some of them another endpoint.
pub fn change(bench: &Bench<'_>, round: usize) -> Result<()> {
    let slices: Vec<Value> = (0..CHANGED).map(|number| slice(number, round + 1)).collect();
    bench.cluster.apply(&list(&slices))
}

/// Removes them all.
pub fn delete(bench: &Bench<'_>) -> Result<()> {
    bench.cluster.kubectl(&["delete", "namespace", NAMESPACE, "--wait"]).map(|_| ())
}

fn service(number: usize) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": format!("s-{number}"), "namespace": NAMESPACE },
        "spec": { "ports": [{ "name": "http", "port": 80, "targetPort": 8080 }] },
    })
}

/// Two endpoints that no pod has; the second one depends on the round.
fn slice(number: usize, round: usize) -> Value {
    let address = |last: usize| format!("10.244.{}.{last}", 100 + number / 100);
    let endpoint = |last| json!({ "addresses": [address(last)], "conditions": { "ready": true } });
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": format!("s-{number}"),
            "namespace": NAMESPACE,
            "labels": { "kubernetes.io/service-name": format!("s-{number}") },
        },
        "addressType": "IPv4",
        "ports": [{ "name": "http", "port": 8080, "protocol": "TCP" }],
        "endpoints": [endpoint(1 + number % 100), endpoint(101 + (number + round) % 100)],
    })
}

fn list(objects: &[Value]) -> String {
    json!({ "apiVersion": "v1", "kind": "List", "items": objects }).to_string()
}
