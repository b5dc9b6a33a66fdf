//! Load balancer addresses that this node answers for, with another machine on its network.

use std::net::UdpSocket;

use apiserver::client::SERVICES;
use datapath::Netns;
use datapath::route::Rtnetlink;
use datapath::testing::{UPLINK, isolated, other_machine, wait_for};
use serde_json::{Value, json};

use crate::refusals::wait_for_event;
use crate::world::{DEADLINE, World, agent_metric};

const TAKEN: &str = "10.89.0.207";
const FREE: &str = "10.89.0.208";

/// A Service that was given an address.
fn give(world: &World, name: &str, cluster_ip: &str, address: &str) {
    let spec = json!({ "type": "LoadBalancer", "clusterIP": cluster_ip, "ports": [{ "port": 80 }] });
    world.create(&SERVICES, "default", &json!({ "metadata": { "name": name }, "spec": spec }));
    let condition = json!({ "type": "fairway.network/IPAllocated", "status": "True", "reason": "Allocated",
        "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z" });
    let ingress = json!([{ "ip": address, "ipMode": "VIP" }]);
    let status = json!({ "loadBalancer": { "ingress": ingress }, "conditions": [condition] });
    world.set_status(&SERVICES, "default", name, &status);
}

/// Where the other machine's kernel believes an address to be, once it has asked.
fn believed(other: &Netns, address: &str) -> Option<String> {
    let ask = || {
        // What is not delivered is not the sender's concern.
        let _ = UdpSocket::bind("0.0.0.0:0").unwrap().send_to(b"x", (address, 9));
        std::fs::read_to_string("/proc/thread-self/net/arp").unwrap()
    };
    let table = other.run(ask).unwrap();
    let line = table.lines().find(|line| line.split_whitespace().next() == Some(address))?;
    line.split_whitespace().nth(3).map(str::to_owned)
}

fn mac_of(kernel: &mut Rtnetlink) -> String {
    kernel.require_link(UPLINK).unwrap().mac.unwrap().to_string()
}

#[test]
fn an_address_that_a_silent_machine_has_is_not_answered_for_until_it_lets_go() {
    isolated(|| {
        let world = World::start();
        let net = |text: &str| text.parse().unwrap();
        let other = other_machine(&[[net("10.89.0.101/24"), net("10.89.0.2/24")]]);
        let (mut here, mut there) = (Rtnetlink::open().unwrap(), Rtnetlink::open_in(&other).unwrap());
        let link = there.require_link(UPLINK).unwrap().index;
        there.add_address(link, net(&format!("{TAKEN}/24"))).unwrap();
        world.create_node();
        let _agent = world.spawn_agent();
        give(&world, "taken", "10.96.0.60", TAKEN);
        give(&world, "free", "10.96.0.61", FREE);

        let assigned = |service: &str| wait_for_event(&world, service, "node node1 answers for")["message"].clone();
        assert_eq!(assigned("free"), format!("node node1 answers for {FREE}"));
        let own = mac_of(&mut here);
        wait_for("the other machine to believe it", DEADLINE, || believed(&other, FREE).filter(|mac| *mac == own));

        let event: Value = wait_for_event(&world, "taken", "status.loadBalancer.ingress");
        let holder = mac_of(&mut there);
        let expected = format!("status.loadBalancer.ingress: {holder} has {TAKEN} already");
        assert!(event["message"].as_str().unwrap().starts_with(&expected), "{event}");
        assert_eq!(event["reason"], "DuplicateAddress");
        wait_for("the metric", DEADLINE, || agent_metric("fairway_announcer_duplicates").filter(|count| *count == 1.0));
        assert_eq!(agent_metric("fairway_announcer_addresses"), Some(1.0), "the other Service's");

        assert!(there.delete_address(link, net(&format!("{TAKEN}/24"))).unwrap());
        assert_eq!(assigned("taken"), format!("node node1 answers for {TAKEN}"));
        wait_for("the other machine to believe it", DEADLINE, || believed(&other, TAKEN).filter(|mac| *mac == own));
    });
}

#[test]
fn an_agent_that_is_started_anew_answers_at_once_for_what_it_answered_for() {
    isolated(|| {
        let world = World::start();
        let net = |text: &str| text.parse().unwrap();
        let other = other_machine(&[[net("10.89.0.101/24"), net("10.89.0.2/24")]]);
        let mut there = Rtnetlink::open_in(&other).unwrap();
        let link = there.require_link(UPLINK).unwrap().index;
        there.add_address(link, net(&format!("{TAKEN}/24"))).unwrap();
        world.create_node();
        give(&world, "taken", "10.96.0.60", TAKEN);
        // To it this is an address that its predecessor may have answered for: a probe would have been answered.
        let _agent = world.spawn_agent();
        let event = wait_for_event(&world, "taken", "node node1 answers for");
        assert_eq!(event["message"], format!("node node1 answers for {TAKEN}"));
    });
}
