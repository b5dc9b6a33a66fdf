use serde_json::{Value, json};

use super::*;
use crate::kinds::resource;

fn allocator() -> ServiceAllocator {
    ServiceAllocator::new(&["10.96.0.0/16".parse().expect("a block")], 30000..=32767)
}

fn service(spec: &Value) -> Value {
    let mut service = json!({"metadata": {"name": "a", "namespace": "default"}, "spec": spec});
    resource("", "v1", "services").expect("services are served").prepare_create(&mut service);
    service
}

/// Plans and applies.
fn store(allocator: &mut ServiceAllocator, spec: &Value, old: Option<&Value>) -> Result<Value, Vec<String>> {
    let mut service = service(spec);
    match allocator.plan(&mut service, old, 42) {
        Ok(allocation) => {
            allocator.apply(&allocation);
            Ok(service)
        }
        Err(AllocationError::Invalid(errors)) => Err(errors.iter().map(ToString::to_string).collect()),
        Err(full) => Err(vec![full.to_string()]),
    }
}

#[test]
fn a_new_service_gets_an_address_and_its_family() {
    let stored = store(&mut allocator(), &json!({"ports": [{"port": 80}]}), None).expect("allocated");
    let address = stored["spec"]["clusterIP"].as_str().expect("an address");
    assert!(address.starts_with("10.96."));
    assert_eq!(stored["spec"]["clusterIPs"], json!([address]));
    assert_eq!(stored["spec"]["ipFamilies"], json!(["IPv4"]));
    assert_eq!(stored["spec"]["ipFamilyPolicy"], "SingleStack");
}

#[test]
fn what_was_not_stored_after_all_is_free_again() {
    let mut allocator = allocator();
    let asked = json!({"clusterIP": "10.96.0.10", "ports": [{"port": 53}]});
    let allocation = allocator.plan(&mut service(&asked), None, 42).expect("allocated");
    allocator.apply(&allocation);
    allocator.undo(&allocation);
    store(&mut allocator, &asked, None).expect("free again");
}

#[test]
fn an_address_asked_for_is_taken_once() {
    let mut allocator = allocator();
    let asked = json!({"clusterIP": "10.96.0.10", "ports": [{"port": 53}]});
    let stored = store(&mut allocator, &asked, None).expect("allocated");
    assert_eq!(stored["spec"]["clusterIPs"], json!(["10.96.0.10"]));
    assert_eq!(
        store(&mut allocator, &asked, None).expect_err("taken"),
        ["spec.clusterIPs: Invalid value: [\"10.96.0.10\"]: failed to allocate IP 10.96.0.10: \
          provided IP is already allocated"]
    );
    allocator.release(&stored);
    assert!(store(&mut allocator, &asked, None).is_ok());
}

#[test]
fn a_plan_takes_nothing_until_it_is_applied() {
    let allocator = allocator();
    for _ in 0..2 {
        let mut service = service(&json!({"clusterIP": "10.96.0.10", "ports": [{"port": 53}]}));
        assert!(allocator.plan(&mut service, None, 1).is_ok());
    }
}

#[test]
fn the_first_address_is_for_the_service_kubernetes() {
    let mut allocator = allocator();
    let spec = json!({"clusterIP": "10.96.0.1", "ports": [{"port": 443}]});
    assert!(store(&mut allocator, &spec, None).is_err());
    let mut kubernetes = service(&spec);
    kubernetes["metadata"]["name"] = json!("kubernetes");
    assert!(allocator.plan(&mut kubernetes, None, 1).is_ok());
}

#[test]
fn a_headless_service_with_a_selector_has_one_family_and_no_address() {
    let stored = store(&mut allocator(), &json!({"clusterIP": "None", "selector": {"a": "b"}}), None).expect("fine");
    let spec = &stored["spec"];
    assert_eq!(spec["clusterIPs"], json!(["None"]));
    assert_eq!((&spec["ipFamilies"], &spec["ipFamilyPolicy"]), (&json!(["IPv4"]), &json!("SingleStack")));
}

#[test]
fn a_headless_service_without_selector_is_open_to_both_families() {
    let stored = store(&mut allocator(), &json!({"clusterIP": "None"}), None).expect("fine");
    let spec = &stored["spec"];
    assert_eq!((&spec["ipFamilies"], &spec["ipFamilyPolicy"]), (&json!(["IPv4", "IPv6"]), &json!("RequireDualStack")));
}

#[test]
fn an_external_name_gets_nothing() {
    let stored = store(&mut allocator(), &json!({"type": "ExternalName", "externalName": "a.b"}), None).expect("fine");
    assert_eq!(stored["spec"].get("clusterIP"), None);
    assert_eq!(stored["spec"].get("ipFamilies"), None);
}

#[test]
fn node_ports_are_chosen_and_shared_between_protocols() {
    let ports =
        json!([{"name": "a", "port": 53}, {"name": "b", "port": 53, "protocol": "UDP"}, {"name": "c", "port": 80}]);
    let stored = store(&mut allocator(), &json!({"type": "NodePort", "ports": ports}), None).expect("allocated");
    let node_ports: Vec<i64> = (0..3).filter_map(|i| stored["spec"]["ports"][i]["nodePort"].as_i64()).collect();
    assert_eq!(node_ports.len(), 3);
    assert_eq!(node_ports[0], node_ports[1]);
    assert_ne!(node_ports[0], node_ports[2]);
}

#[test]
fn a_node_port_asked_for_must_be_free_and_in_range() {
    let mut allocator = allocator();
    let with = |node_port: u16| json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": node_port}]});
    assert!(store(&mut allocator, &with(30080), None).is_ok());
    assert_eq!(
        store(&mut allocator, &with(30080), None).expect_err("taken"),
        ["spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated"]
    );
    assert_eq!(
        store(&mut allocator, &with(80), None).expect_err("out of range"),
        ["spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. \
          The range of valid ports is 30000-32767"]
    );
}

#[test]
fn applying_the_same_manifest_again_keeps_everything() {
    let mut allocator = allocator();
    let manifest = json!({"type": "NodePort", "ports": [{"port": 80}]});
    let first = store(&mut allocator, &manifest, None).expect("allocated");
    let mut second = service(&manifest);
    let allocation = allocator.plan(&mut second, Some(&first), 7).expect("allocated");
    assert_eq!(second["spec"], first["spec"]);
    assert_eq!(allocation, Allocation::default());
}

#[test]
fn a_cluster_ip_made_a_node_port_gets_ports_and_back_again_frees_them() {
    let mut allocator = allocator();
    let internal = store(&mut allocator, &json!({"ports": [{"port": 80}]}), None).expect("allocated");
    let mut spec = internal["spec"].clone();
    spec["type"] = json!("NodePort");
    let external = store(&mut allocator, &spec, Some(&internal)).expect("allocated");
    assert_eq!(external["spec"]["clusterIP"], internal["spec"]["clusterIP"]);
    let node_port = external["spec"]["ports"][0]["nodePort"].as_i64().expect("a node port");
    assert!(allocator.node_ports.check(node_port).is_err());

    let services = resource("", "v1", "services").expect("services are served");
    let mut back = external.clone();
    back["spec"]["type"] = json!("ClusterIP");
    services.prepare_update(&mut back, &external, None);
    let allocation = allocator.plan(&mut back, Some(&external), 7).expect("allocated");
    allocator.apply(&allocation);
    assert_eq!(back["spec"]["ports"], internal["spec"]["ports"]);
    assert!(allocator.node_ports.check(node_port).is_ok());
}

#[test]
fn an_external_name_made_a_cluster_ip_gets_an_address() {
    let mut allocator = allocator();
    let named =
        store(&mut allocator, &json!({"type": "ExternalName", "externalName": "a.b"}), None).expect("allocated");
    let stored = store(&mut allocator, &json!({"ports": [{"port": 80}]}), Some(&named)).expect("allocated");
    assert!(stored["spec"]["clusterIP"].as_str().is_some_and(|address| address.starts_with("10.96.")));
}

#[test]
fn a_local_load_balancer_gets_a_health_check_port() {
    let spec = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": [{"port": 80}]});
    let stored = store(&mut allocator(), &spec, None).expect("allocated");
    let health_check = stored["spec"]["healthCheckNodePort"].as_i64().expect("a port");
    assert_ne!(Some(health_check), stored["spec"]["ports"][0]["nodePort"].as_i64());
}

#[test]
fn a_load_balancer_may_go_without_node_ports() {
    let spec = json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": [{"port": 80}]});
    let stored = store(&mut allocator(), &spec, None).expect("allocated");
    assert_eq!(stored["spec"]["ports"][0].get("nodePort"), None);
}

#[test]
fn two_families_need_a_cluster_that_has_them() {
    let spec = json!({"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6"], "ports": [{"port": 80}]});
    assert_eq!(
        store(&mut allocator(), &spec, None).expect_err("single stack"),
        [
            "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": \
             this cluster is not configured for dual-stack services",
            "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster",
        ]
    );
    let blocks = ["10.96.0.0/16", "fd00:96::/108"].map(|block| block.parse().expect("a block"));
    let mut dual = ServiceAllocator::new(&blocks, 30000..=32767);
    let stored = store(&mut dual, &spec, None).expect("allocated");
    assert_eq!(stored["spec"]["ipFamilies"], json!(["IPv6", "IPv4"]));
    assert!(stored["spec"]["clusterIPs"][0].as_str().is_some_and(|address| address.starts_with("fd00:96::")));
    assert!(stored["spec"]["clusterIPs"][1].as_str().is_some_and(|address| address.starts_with("10.96.")));
}

#[test]
fn a_restored_allocator_knows_what_is_taken() {
    let stored = store(&mut allocator(), &json!({"type": "NodePort", "ports": [{"port": 80}]}), None).expect("fine");
    let mut restarted = allocator();
    restarted.restore(&stored);
    let again = json!({"clusterIP": stored["spec"]["clusterIP"], "ports": [{"port": 80}]});
    assert!(store(&mut restarted, &again, None).is_err());
}

#[test]
fn a_full_range_is_the_servers_failure() {
    let mut allocator = ServiceAllocator::new(&["10.0.0.0/30".parse().expect("a block")], 30000..=30000);
    let spec = json!({"type": "NodePort", "ports": [{"port": 80}]});
    assert!(store(&mut allocator, &spec, None).is_ok());
    assert_eq!(
        store(&mut allocator, &spec, None).expect_err("full"),
        ["failed to allocate a serviceIP for Service \"a\": range is full"]
    );
}
