//! The controller.

use apiserver::client::{LEASES, NODES};
use datapath::testing::{isolated, wait_for};
use serde_json::{Value, json};

use crate::refusals::wait_for_event;
use crate::world::{DEADLINE, Process, World, page};

/// A replica that leads or waits; a leader that fell silent is replaced after two seconds.
fn spawn(world: &World, identity: &str, status: &str, more: &[&str]) -> Process {
    let all = ["--identity", identity, "--status-bind-address", status, "--lease-duration", "2", "--cluster-cidr"];
    let replica = world.spawn("controller", &[&all[..], &["10.244.0.0/23"], more].concat());
    wait_for("its pages", DEADLINE, || page(status, "/readyz").filter(|(code, _)| *code == 200));
    replica
}

fn holder(world: &World) -> Option<String> {
    let lease = world.runtime.block_on(world.client.get(&LEASES, "kube-system", "fairway-controller")).ok()?;
    lease["spec"]["holderIdentity"].as_str().map(str::to_owned)
}

fn wait_for_holder(world: &World, identity: &str) {
    wait_for(&format!("{identity} to lead"), DEADLINE, || holder(world).filter(|holder| holder == identity));
}

fn create_node(world: &World, name: &str) {
    world.create(&NODES, "", &json!({ "metadata": { "name": name } }));
}

fn wait_for_ranges(world: &World, node: &str) -> Value {
    wait_for(&format!("{node}'s ranges"), DEADLINE, || {
        let found = world.get(&NODES, "", node);
        found["spec"]["podCIDRs"].is_array().then(|| found["spec"]["podCIDRs"].clone())
    })
}

#[test]
fn nodes_get_ranges_from_whoever_leads_and_one_too_many_is_told() {
    isolated(|| {
        let world = World::start();
        let (one, two) = ("127.0.0.1:10247", "127.0.0.1:10248");
        create_node(&world, "first");
        let leader = spawn(&world, "one", one, &["--allocate-node-cidrs", "always"]);
        wait_for_holder(&world, "one");
        let _other = spawn(&world, "two", two, &["--allocate-node-cidrs", "always"]);
        assert_eq!(wait_for_ranges(&world, "first"), json!(["10.244.0.0/24"]));
        assert!(page(two, "/metrics").unwrap().1.contains("fairway_controller_leads 0\n"));
        leader.crash();
        create_node(&world, "second");
        assert_eq!(wait_for_ranges(&world, "second"), json!(["10.244.1.0/24"]));
        assert_eq!(holder(&world).as_deref(), Some("two"));
        create_node(&world, "third");
        let event = wait_for_event(&world, "third", "spec.podCIDRs");
        let why =
            "is empty, and 10.244.0.0/23 has no free /24 left: remove nodes, or give the controller a larger range";
        assert_eq!(event["message"], format!("spec.podCIDRs: {why}"));
    });
}

#[test]
fn a_leader_that_is_told_to_end_gives_the_lease_back() {
    isolated(|| {
        let world = World::start();
        let leader = spawn(&world, "one", "127.0.0.1:10247", &[]);
        wait_for_holder(&world, "one");
        leader.end();
        assert_eq!(holder(&world), None);
    });
}
