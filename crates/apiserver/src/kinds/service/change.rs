//! What changing a Service's type means for fields that belong to the old type.
//!
//! A client that switches the type usually sends the other fields back as they were. What no longer applies, was not
//! changed in the same breath and may have been chosen by the server is dropped; anything else is left for validation.

use serde_json::Value;

use super::{is_reachable_from_outside, needs_cluster_addresses, needs_health_check, needs_node_ports};
use crate::kinds::fill::{Fill, Object};

/// Drops from `new` what its type has no use for.
pub(super) fn settle_update(new: &mut Object, old: &Object, subresource: Option<&str>) {
    let Some(old_spec) = old.get("spec").and_then(Value::as_object).filter(|_| subresource.is_none()) else { return };
    let spec = new.object("spec");
    if needs_cluster_addresses(old_spec) && !needs_cluster_addresses(spec) {
        drop_cluster_addresses(spec, old_spec);
    }
    if needs_node_ports(old_spec) && !needs_node_ports(spec) && adds_no_node_port(spec, old_spec) {
        for port in spec.objects("ports") {
            port.remove("nodePort");
        }
    }
    if needs_health_check(old_spec) && !needs_health_check(spec) {
        drop_if_same(spec, old_spec, "healthCheckNodePort");
    }
    let is_load_balancer = |spec: &Object| spec.text("type") == "LoadBalancer";
    if is_load_balancer(old_spec) && !is_load_balancer(spec) {
        drop_if_same(spec, old_spec, "allocateLoadBalancerNodePorts");
        drop_if_same(spec, old_spec, "loadBalancerClass");
    }
    if is_reachable_from_outside(old_spec) && !is_reachable_from_outside(spec) {
        drop_if_same(spec, old_spec, "externalTrafficPolicy");
    }
    if !is_load_balancer(spec) {
        new.object("status").insert("loadBalancer".into(), Value::Object(Object::new()));
    }
}

fn drop_cluster_addresses(spec: &mut Object, old: &Object) {
    if spec.get("clusterIP") == old.get("clusterIP") && spec.get("clusterIPs") == old.get("clusterIPs") {
        spec.remove("clusterIP");
        spec.remove("clusterIPs");
    }
    drop_if_same(spec, old, "ipFamilies");
    drop_if_same(spec, old, "ipFamilyPolicy");
}

fn drop_if_same(spec: &mut Object, old: &Object, name: &str) {
    if spec.get(name) == old.get(name) {
        spec.remove(name);
    }
}

fn adds_no_node_port(spec: &Object, old: &Object) -> bool {
    let known = node_ports(old);
    node_ports(spec).iter().all(|port| known.contains(port))
}

/// The node ports of a Service, in the order of its ports.
pub(crate) fn node_ports(spec: &Object) -> Vec<i64> {
    let ports = spec.get("ports").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    ports.iter().filter_map(|port| port["nodePort"].as_i64()).filter(|&port| port != 0).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::kinds::resource;

    fn retyped(old: &Value, change: impl FnOnce(&mut Value)) -> Value {
        let services = resource("", "v1", "services").expect("services are served");
        let old = json!({"metadata": {"name": "a"}, "spec": old, "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}});
        let mut new = old.clone();
        change(&mut new["spec"]);
        services.prepare_update(&mut new, &old, None);
        new
    }

    fn load_balancer() -> Value {
        json!({
            "type": "LoadBalancer", "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"], "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
            "externalTrafficPolicy": "Local", "healthCheckNodePort": 30100, "allocateLoadBalancerNodePorts": true,
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80, "nodePort": 30080}],
        })
    }

    #[test]
    fn a_load_balancer_made_internal_loses_its_ports_and_policies() {
        let new = retyped(&load_balancer(), |spec| spec["type"] = json!("ClusterIP"));
        assert_eq!(
            new["spec"],
            json!({
                "type": "ClusterIP", "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"], "ipFamilies": ["IPv4"],
                "ipFamilyPolicy": "SingleStack", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
                "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
            })
        );
        assert_eq!(new["status"], json!({"loadBalancer": {}}));
    }

    #[test]
    fn a_load_balancer_made_a_node_port_keeps_its_ports() {
        let new = retyped(&load_balancer(), |spec| spec["type"] = json!("NodePort"));
        assert_eq!(new["spec"]["ports"][0]["nodePort"], 30080);
        assert_eq!(new["spec"]["externalTrafficPolicy"], "Local");
        assert_eq!(new["spec"].get("healthCheckNodePort"), None);
    }

    #[test]
    fn an_external_name_keeps_no_addresses() {
        let new = retyped(&load_balancer(), |spec| spec["type"] = json!("ExternalName"));
        for gone in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "externalTrafficPolicy"] {
            assert_eq!(new["spec"].get(gone), None, "{gone}");
        }
    }

    #[test]
    fn what_the_client_changed_as_well_is_left_to_validation() {
        let new = retyped(&load_balancer(), |spec| {
            spec["type"] = json!("ClusterIP");
            spec["ports"][0]["nodePort"] = json!(30081);
        });
        assert_eq!(new["spec"]["ports"][0]["nodePort"], 30081);
    }
}
