//! What users are told when an object cannot be admitted.

use apiserver::client::{ENDPOINT_SLICES, EVENTS, ListOptions, SERVICES};
use datapath::testing::{isolated, wait_for};
use serde_json::{Value, json};

use crate::world::{DEADLINE, World};

#[test]
fn an_object_that_is_refused_gets_an_event_and_the_others_work() {
    isolated(|| {
        let world = World::start();
        world.create_node();
        world.create_node_at("broken", "127.0.0.1", "10.244.2.0/24");
        let _agent = world.spawn_agent();
        let event = wait_for_event(&world, "broken", "status.addresses[0]");
        assert_eq!((&event["type"], &event["reason"]), (&json!("Warning"), &json!("Refused")));
        assert_eq!(event["involvedObject"]["kind"], "Node");
        let message = event["message"].as_str().unwrap();
        assert!(message.contains("loopback"), "{message}");
    });
}

#[test]
fn what_is_refused_again_much_later_is_counted() {
    isolated(|| {
        let world = World::start();
        world.create_node();
        world.create_node_at("broken", "127.0.0.1", "10.244.2.0/24");
        let agent = world.spawn_agent();
        let name = wait_for_event(&world, "broken", "status.addresses[0]")["metadata"]["name"].clone();
        let name = name.as_str().unwrap();
        let long_ago = json!("2026-01-01T00:00:00Z");
        world.merge(&EVENTS, "default", name, json!({ "lastTimestamp": long_ago }));
        agent.end();
        let _agent = world.spawn_agent();
        let event = wait_for("it to be counted", DEADLINE, || {
            Some(world.get(&EVENTS, "default", name)).filter(|event| event["count"] == 2)
        });
        assert_ne!(event["lastTimestamp"], long_ago);
    });
}

#[test]
fn objects_in_each_others_way_are_told_and_the_first_has_its_way() {
    isolated(|| {
        let world = World::start();
        world.create_node();
        world.create_node_at("rival", "10.89.0.2", "10.244.1.128/25");
        world.create_service("cart", "10.96.0.50", "TCP");
        world.create_service("till", "10.96.0.51", "TCP");
        for name in ["cart", "till"] {
            world.merge(&SERVICES, "default", name, json!({ "spec": { "externalIPs": ["203.0.113.1"] } }));
        }
        let _agent = world.spawn_agent();
        let of_node = wait_for_event(&world, "rival", "spec.podCIDRs");
        let overlap = "spec.podCIDRs: 10.244.1.128/25 overlaps 10.244.1.0/24 of Node node1; every node needs its own";
        assert_eq!(of_node["message"], overlap);
        let of_service = wait_for_event(&world, "till", "spec.ports");
        let contested = "TCP 203.0.113.1:80 belongs to Service default/cart, which comes first by name; use another";
        assert_eq!(of_service["message"], format!("spec.ports[name=main]: {contested}"));
        let till = world.get(&SERVICES, "default", "till");
        assert_eq!(of_service["involvedObject"]["uid"], till["metadata"]["uid"], "describe finds it by that");
    });
}

/// The event about a field of an object.
pub fn wait_for_event(world: &World, object: &str, field: &str) -> Value {
    wait_for(&format!("an event on {object}"), DEADLINE, || {
        let all = ListOptions::default();
        let events = world.runtime.block_on(world.client.list(&EVENTS, "default", &all)).ok()?.items;
        let is_meant = |event: &Value| {
            event["involvedObject"]["name"] == object && event["message"].as_str().unwrap().starts_with(field)
        };
        events.into_iter().find(is_meant)
    })
}

#[test]
fn a_port_name_that_no_pod_has_is_told_on_the_service() {
    isolated(|| {
        let world = World::start();
        world.create_node();
        let ports = json!([{ "name": "main", "port": 80, "targetPort": "web" }]);
        let spec = json!({ "clusterIP": "10.96.0.50", "ports": ports });
        world.create(&SERVICES, "default", &json!({ "metadata": { "name": "shop" }, "spec": spec }));
        let slice = json!({
            "metadata": { "name": "shop-1", "labels": { "kubernetes.io/service-name": "shop" } },
            "addressType": "IPv4", "ports": [], "endpoints": [{ "addresses": ["10.244.1.5"] }],
        });
        world.create(&ENDPOINT_SLICES, "default", &slice);
        let _agent = world.spawn_agent();
        let event = wait_for("an event", DEADLINE, || {
            let all = ListOptions::default();
            let events = world.runtime.block_on(world.client.list(&EVENTS, "default", &all)).ok()?.items;
            events.into_iter().find(|event| event["involvedObject"]["name"] == "shop")
        });
        assert_eq!((&event["type"], &event["reason"]), (&json!("Warning"), &json!("PortNameNotFound")));
        assert!(event["message"].as_str().unwrap().contains("\"web\""), "{event}");
    });
}
