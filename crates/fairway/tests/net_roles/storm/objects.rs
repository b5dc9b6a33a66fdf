//! Services of both families and their endpoints.

use std::net::IpAddr;

use apiserver::client::{ENDPOINT_SLICES, SERVICES};
use serde_json::{Value, json};

use super::servers::{BANNER, ECHO};
use crate::world::{NODE, World};

/// How a slice says its family, and how its name ends.
pub const FAMILIES: [(&str, &str); 2] = [("IPv4", "v4"), ("IPv6", "v6")];

/// Makes a Service of both families with port 80 of TCP and UDP, unless `spec` has other ports.
pub fn create_service(world: &World, name: &str, addresses: [&str; 2], spec: &Value, pods: &[[IpAddr; 2]]) {
    let mut whole = json!({
        "clusterIP": addresses[0], "clusterIPs": addresses, "ipFamilyPolicy": "RequireDualStack", "ports": [
            { "name": "main", "port": 80, "targetPort": BANNER },
            { "name": "datagrams", "port": 80, "protocol": "UDP", "targetPort": BANNER },
        ],
    });
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    world.create(&SERVICES, "default", &json!({ "metadata": { "name": name }, "spec": whole }));
    for (index, (family, suffix)) in FAMILIES.iter().enumerate() {
        let slice = json!({
            "metadata": {
                "name": format!("{name}-{suffix}"), "labels": { "kubernetes.io/service-name": name },
            },
            "addressType": family,
            "ports": [
                { "name": "main", "port": BANNER },
                { "name": "datagrams", "port": BANNER, "protocol": "UDP" },
                { "name": "echo", "port": ECHO },
            ],
            "endpoints": endpoints_of(index, pods),
        });
        world.create(&ENDPOINT_SLICES, "default", &slice);
    }
}

pub fn delete_service(world: &World, name: &str) {
    world.delete(&SERVICES, "default", name);
    for (_, suffix) in FAMILIES {
        world.delete(&ENDPOINT_SLICES, "default", &format!("{name}-{suffix}"));
    }
}

/// Gives a Service these pods of this node instead, all ready.
pub fn set_endpoints(world: &World, service: &str, pods: &[[IpAddr; 2]]) {
    for (index, (_, suffix)) in FAMILIES.iter().enumerate() {
        let patch = json!({ "endpoints": endpoints_of(index, pods) });
        world.merge(&ENDPOINT_SLICES, "default", &format!("{service}-{suffix}"), patch);
    }
}

fn endpoints_of(family: usize, pods: &[[IpAddr; 2]]) -> Vec<Value> {
    let endpoint =
        |pod: &[IpAddr; 2]| json!({ "addresses": [pod[family]], "conditions": { "ready": true }, "nodeName": NODE });
    pods.iter().map(endpoint).collect()
}
