//! `fairway service`, on a node.

use apiserver::client::{ENDPOINT_SLICES, SERVICES};
use datapath::testing::{isolated, wait_for};
use serde_json::{Value, json};

use crate::world::{DEADLINE, NODE, World};

/// Two endpoints, of which one is not ready.
fn create_slice(world: &World) {
    let endpoint = |address: &str, ready: bool| json!({ "addresses": [address], "nodeName": NODE, "conditions": { "ready": ready } });
    let slice = json!({
        "metadata": { "name": "shop-1", "labels": { "kubernetes.io/service-name": "shop" } },
        "addressType": "IPv4",
        "ports": [{ "name": "main", "port": 8080 }],
        "endpoints": [endpoint("10.244.1.5", true), endpoint("10.244.1.6", false)],
    });
    world.create(&ENDPOINT_SLICES, "default", &slice);
}

fn show(world: &World) -> Option<Value> {
    let (code, text) = world.run(&["service", "show", "shop", "-o", "json"]);
    (code == Some(0)).then(|| serde_json::from_str(&text).unwrap())
}

fn is_held(report: &Value) -> bool {
    let elements = report["kernel"].as_array().map(Vec::as_slice).unwrap_or_default();
    !elements.is_empty() && elements.iter().all(|element| element["held"] == true)
}

#[test]
fn a_service_is_shown_with_who_serves_who_does_not_and_what_the_kernel_holds() {
    isolated(|| {
        let world = World::start_with_shop("TCP");
        let (code, text) = world.run(&["service", "show", "shop"]);
        assert_eq!(code, Some(1), "nobody serves it: {text}");
        create_slice(&world);
        let before = show(&world).unwrap();
        assert_eq!(before["kernel"], Value::Null, "no table yet");
        assert_eq!(before["frontends"][0]["does"], "to 1 endpoint, source kept for pods and nodes");
        let states: Vec<&Value> = before["backends"].as_array().unwrap().iter().map(|each| &each["state"]).collect();
        assert_eq!(states, [&json!("serves"), &json!("left out: it is not ready")]);

        let _agent = world.spawn_agent();
        wait_for("the elements", DEADLINE, || show(&world).filter(is_held));
        let (code, table) = world.run(&["service", "show", "shop"]);
        assert_eq!(code, Some(0));
        assert!(table.contains("comment \"default/shop:main\" : goto lb_1") && !table.contains("MISSING"), "{table}");
        let (code, list) = world.run(&["service", "list", "-A"]);
        assert_eq!(code, Some(0));
        assert!(list.lines().any(|line| line.contains("shop") && line.contains("1/2")), "{list}");
    });
}

#[test]
fn node_ports_are_shown_where_the_agent_serves_them() {
    isolated(|| {
        let world = World::start_with_shop("TCP");
        create_slice(&world);
        let ports = json!([{ "name": "main", "port": 80, "targetPort": 8080, "nodePort": 30080 }]);
        world.merge(&SERVICES, "default", "shop", json!({ "spec": { "type": "NodePort", "ports": ports } }));
        let _agent = world.spawn_agent_with(&["--node-port-addresses", "10.244.1.6/32"]);
        wait_for("the elements", DEADLINE, || show(&world).filter(is_held));
        let (code, table) = world.run(&["service", "show", "shop"]);
        assert_eq!(code, Some(0));
        assert!(table.contains("10.244.1.6:30080") && !table.contains("10.89.0.1:30080"), "{table}");
    });
}

#[test]
fn a_name_elsewhere_is_shown_as_such_and_needs_no_endpoints() {
    isolated(|| {
        let world = World::start();
        world.create_node();
        let ports = json!([{ "name": "sql", "port": 5432 }]);
        let spec = json!({ "type": "ExternalName", "externalName": "db.example.com", "ports": ports });
        world.create(&SERVICES, "default", &json!({ "metadata": { "name": "shop" }, "spec": spec }));
        let (code, text) = world.run(&["service", "show", "shop"]);
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains("an alias for db.example.com"), "{text}");
    });
}
