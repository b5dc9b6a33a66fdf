//! Services.

pub(crate) mod addresses;
mod change;
mod validation;

use serde_json::{Value, json};

use super::field::Field;
use super::fill::{Fill, Object};
use super::selectable::Selectable;
use super::{Rules, names};
use crate::table;
pub(crate) use change::node_ports;

pub(super) static RULES: Rules = Rules {
    name: names::label_name,
    default,
    initial_status: |_| Some(json!({"loadBalancer": {}})),
    settle_update: change::settle_update,
    validate: validation::validate,
    selectable: &[Selectable::Plain("spec.clusterIP"), Selectable::Plain("spec.type")],
    printer: table::network::SERVICE,
    ..Rules::PLAIN
};

/// How long a client sticks to its endpoint unless the Service says otherwise.
const AFFINITY_TIMEOUT_SECONDS: u32 = 10_800;
/// The cluster address of a Service without one.
pub(crate) const HEADLESS: &str = "None";

fn default(service: &mut Object) {
    let spec = service.object("spec");
    default_affinity(spec);
    spec.fill_text("type", "ClusterIP");
    for port in spec.objects("ports") {
        default_port(port);
    }
    if is_reachable_from_outside(spec) {
        spec.fill_text("externalTrafficPolicy", "Cluster");
    }
    if spec.text("type") != "ExternalName" {
        spec.fill("internalTrafficPolicy", "Cluster");
    }
    if spec.text("type") == "LoadBalancer" {
        spec.fill("allocateLoadBalancerNodePorts", true);
    }
    drop_zeros(spec);
}

fn default_affinity(spec: &mut Object) {
    spec.fill_text("sessionAffinity", "None");
    match spec.text("sessionAffinity") {
        "None" => drop(spec.remove("sessionAffinityConfig")),
        "ClientIP" => {
            spec.object("sessionAffinityConfig").object("clientIP").fill("timeoutSeconds", AFFINITY_TIMEOUT_SECONDS);
        }
        _ => {}
    }
}

fn default_port(port: &mut Object) {
    port.fill_text("protocol", "TCP");
    let target = port.get("targetPort");
    if target.is_none_or(|target| matches!(target, Value::Null) || target == 0 || target == "") {
        let number = port.get("port").cloned().unwrap_or_else(|| json!(0));
        port.insert("targetPort".into(), number);
    }
    if port.get("nodePort").is_some_and(|number| number == 0) {
        port.remove("nodePort");
    }
}

/// Zero and empty mean "not chosen" and are not stored.
fn drop_zeros(spec: &mut Object) {
    spec.retain(|name, value| match name.as_str() {
        "healthCheckNodePort" => *value != 0,
        "clusterIP" | "externalTrafficPolicy" => *value != "",
        "clusterIPs" | "ipFamilies" | "externalIPs" => value.as_array().is_none_or(|items| !items.is_empty()),
        _ => true,
    });
}

/// Whether traffic reaches the Service from outside the cluster.
fn is_reachable_from_outside(spec: &Object) -> bool {
    match spec.text("type") {
        "LoadBalancer" | "NodePort" => true,
        "ClusterIP" => spec.get("externalIPs").and_then(Value::as_array).is_some_and(|addresses| !addresses.is_empty()),
        _ => false,
    }
}

/// Whether a load balancer must ask each node if it has endpoints.
pub(crate) fn needs_health_check(spec: &Object) -> bool {
    spec.text("type") == "LoadBalancer" && spec.text("externalTrafficPolicy") == "Local"
}

/// Whether Services of this type have a port on every node.
pub(crate) fn needs_node_ports(spec: &Object) -> bool {
    matches!(spec.text("type"), "NodePort" | "LoadBalancer")
}

/// Whether Services of this type have cluster addresses; headless ones count, they chose to have none.
pub(crate) fn needs_cluster_addresses(spec: &Object) -> bool {
    spec.text("type") != "ExternalName"
}

fn is_headless(spec: &Field<'_>) -> bool {
    spec.get("clusterIPs").texts().eq([HEADLESS])
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::kinds::resource;

    fn defaulted(spec: &Value) -> Value {
        let mut service = json!({"metadata": {"name": "a"}, "spec": spec});
        resource("", "v1", "services").expect("services are served").default_object(&mut service);
        service["spec"].take()
    }

    #[test]
    fn a_bare_service_is_reached_inside_the_cluster_over_tcp() {
        assert_eq!(
            defaulted(&json!({"ports": [{"port": 80}]})),
            json!({
                "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
                "sessionAffinity": "None", "type": "ClusterIP", "internalTrafficPolicy": "Cluster",
            })
        );
    }

    #[test]
    fn services_seen_from_outside_have_an_external_policy() {
        assert_eq!(defaulted(&json!({"type": "NodePort"}))["externalTrafficPolicy"], "Cluster");
        assert_eq!(defaulted(&json!({"externalIPs": ["192.0.2.1"]}))["externalTrafficPolicy"], "Cluster");
        assert_eq!(defaulted(&json!({}))["externalTrafficPolicy"], Value::Null);
        assert_eq!(defaulted(&json!({"type": "LoadBalancer"}))["allocateLoadBalancerNodePorts"], true);
    }

    #[test]
    fn an_external_name_has_no_internal_policy() {
        let spec = defaulted(&json!({"type": "ExternalName", "externalName": "example.com"}));
        assert_eq!(spec, json!({"type": "ExternalName", "externalName": "example.com", "sessionAffinity": "None"}));
    }

    #[test]
    fn sticky_clients_stick_for_three_hours() {
        let spec = defaulted(&json!({"sessionAffinity": "ClientIP"}));
        assert_eq!(spec["sessionAffinityConfig"], json!({"clientIP": {"timeoutSeconds": 10800}}));
        let spec = defaulted(&json!({"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 5}}}));
        assert_eq!(spec.get("sessionAffinityConfig"), None);
    }

    #[test]
    fn numbers_that_were_not_chosen_are_not_stored() {
        let spec = defaulted(&json!({"ports": [{"port": 80, "nodePort": 0, "targetPort": 0}], "clusterIP": ""}));
        assert_eq!(spec["ports"], json!([{"port": 80, "targetPort": 80, "protocol": "TCP"}]));
        assert_eq!(spec.get("clusterIP"), None);
    }
}
