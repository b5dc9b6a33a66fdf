//! What users are told when an object cannot be admitted.

use apiserver::client::{EVENTS, ListOptions};
use datapath::testing::{isolated, wait_for};
use serde_json::json;

use crate::world::{DEADLINE, World};

#[test]
fn an_object_that_is_refused_gets_an_event_and_the_others_work() {
    isolated(|| {
        let world = World::start();
        world.create_node();
        world.create_node_at("broken", "127.0.0.1", "10.244.2.0/24");
        let _agent = world.spawn_agent();
        let event = wait_for("an event", DEADLINE, || {
            let all = ListOptions::default();
            let events = world.runtime.block_on(world.client.list(&EVENTS, "default", &all)).ok()?.items;
            events.into_iter().find(|event| event["involvedObject"]["name"] == "broken")
        });
        assert_eq!((&event["type"], &event["reason"]), (&json!("Warning"), &json!("Refused")));
        assert_eq!(event["involvedObject"]["kind"], "Node");
        let message = event["message"].as_str().unwrap();
        assert!(message.starts_with("status.addresses[0]") && message.contains("loopback"), "{message}");
    });
}
