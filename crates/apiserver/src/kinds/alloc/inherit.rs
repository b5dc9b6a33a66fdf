//! What a changed Service keeps from the stored one when the client leaves it out.
//!
//! A manifest without addresses or node ports can so be applied again and again.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::texts;
use crate::kinds::fill::{Fill, Object};
use crate::kinds::service::{needs_cluster_addresses, needs_health_check, needs_node_ports, node_ports};

/// Copies addresses and ports that were allocated before and that the new spec leaves open.
pub(super) fn allocated_values(spec: &mut Object, old: &Object) {
    if needs_cluster_addresses(old) && needs_cluster_addresses(spec) {
        if spec.text("clusterIP").is_empty() && !old.text("clusterIP").is_empty() {
            spec.insert("clusterIP".into(), json!(old.text("clusterIP")));
        }
        if texts(spec, "clusterIPs").is_empty() {
            copy(spec, old, "clusterIPs");
        }
    }
    if needs_node_ports(old) && needs_node_ports(spec) {
        inherit_node_ports(spec, old);
    }
    if needs_health_check(old) && needs_health_check(spec) && !spec.has("healthCheckNodePort") {
        copy(spec, old, "healthCheckNodePort");
    }
}

fn copy(spec: &mut Object, old: &Object, name: &str) {
    if let Some(value) = old.get(name) {
        spec.insert(name.to_owned(), value.clone());
    }
}

/// A port without a node port keeps the one the stored port of that name has, unless another port took it.
fn inherit_node_ports(spec: &mut Object, old: &Object) {
    let (used_before, used_now) = (node_ports(old), node_ports(spec));
    let by_name: HashMap<&str, &Value> = old
        .get("ports")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|port| (port["name"].as_str().unwrap_or_default(), &port["nodePort"]))
        .collect();
    for port in spec.objects("ports").filter(|port| !port.has("nodePort")) {
        let Some(number) = by_name.get(port.text("name")).and_then(|number| number.as_i64()) else { continue };
        if !(used_before.contains(&number) && used_now.contains(&number)) {
            port.insert("nodePort".into(), json!(number));
        }
    }
}

/// Makes `clusterIP` and `clusterIPs` agree where a client changed or gave only the former.
pub(super) fn agree_on_addresses(spec: &mut Object, old: Option<&Object>) {
    let one = spec.text("clusterIP").to_owned();
    let Some(old) = old else {
        if !one.is_empty() && texts(spec, "clusterIPs").is_empty() {
            spec.insert("clusterIPs".into(), json!([one]));
        }
        return;
    };
    let (old_one, old_all) = (old.text("clusterIP"), texts(old, "clusterIPs"));
    if !old_all.is_empty() && texts(spec, "clusterIPs").is_empty() && old_one == one {
        spec.insert("clusterIPs".into(), json!(old_all));
    }
    if old_one != one && texts(spec, "clusterIPs") == old_all && !(old_all.is_empty() && one.is_empty()) {
        if one.is_empty() {
            spec.remove("clusterIPs");
        } else {
            spec.insert("clusterIPs".into(), json!([one]));
        }
    }
}
