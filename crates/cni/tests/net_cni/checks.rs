//! What a check finds: one thing damaged at a time.

use compile::ruleset::Operation;
use datapath::Netns;
use datapath::nft::Table;
use datapath::route::{RouteFilter, Rtnetlink};
use datapath::testing::isolated;
use serde_json::{Value, json};

use crate::runtime::{Node, uplink};

/// A container with its attachment as it was made, and the configuration by which to check it.
struct Attached {
    name: String,
    netns: Netns,
    host_link: String,
    config: Value,
}

impl Attached {
    fn new(node: &Node, name: &str) -> Self {
        let netns = node.container(name);
        let mut config = node.config.clone();
        config["runtimeConfig"] = json!({ "bandwidth": { "ingressRate": 8_000_000, "egressRate": 8_000_000 } });
        let said = node.call_with("ADD", name, &config);
        assert!(said.is_success, "{said:?}");
        let host_link = said.output["interfaces"][0]["name"].as_str().unwrap().to_owned();
        config["prevResult"] = said.output;
        Self { name: name.to_owned(), netns, host_link, config }
    }

    fn inside(&self) -> Rtnetlink {
        Rtnetlink::open_in(&self.netns).unwrap()
    }

    /// What a check says is wrong.
    fn faults(&self, node: &Node) -> String {
        let said = node.call_with("CHECK", &self.name, &self.config);
        let message = said.output["msg"].as_str().unwrap_or_default();
        message.strip_prefix("the container's network is not as it should be: ").unwrap_or(message).to_owned()
    }
}

type Damage = fn(&Attached);

fn carry_less(attached: &Attached) {
    let mut inside = attached.inside();
    let eth0 = inside.require_link("eth0").unwrap();
    inside.set_mtu(eth0.index, 1400).unwrap();
}

fn carry_less_outside(attached: &Attached) {
    let mut host = Rtnetlink::open().unwrap();
    let link = host.require_link(&attached.host_link).unwrap();
    host.set_mtu(link.index, 1300).unwrap();
}

fn lose_route_to(attached: &Attached, destination: &str) {
    let mut inside = attached.inside();
    let routes = inside.routes(RouteFilter::Main).unwrap();
    let route = routes.iter().find(|route| route.destination.to_string() == destination).unwrap();
    assert!(inside.delete_route(route).unwrap());
}

fn lose_address(attached: &Attached) {
    let mut inside = attached.inside();
    let eth0 = inside.require_link("eth0").unwrap();
    inside.delete_address(eth0.index, "fd00:10:244:1::5/128".parse().unwrap()).unwrap();
}

fn forget_gateway(attached: &Attached) {
    let mut inside = attached.inside();
    let eth0 = inside.require_link("eth0").unwrap();
    inside.delete_neighbour(eth0.index, "169.254.1.1".parse().unwrap()).unwrap();
}

fn send_past_the_limit(attached: &Attached) {
    let mut host = Rtnetlink::open().unwrap();
    let link = host.require_link(&attached.host_link).unwrap();
    assert!(host.stop_redirecting(link.index).unwrap());
}

fn receive_without_limit(attached: &Attached) {
    let mut host = Rtnetlink::open().unwrap();
    let link = host.require_link(&attached.host_link).unwrap();
    assert!(host.unlimit_rate(link.index).unwrap());
}

fn lift_the_guard(_: &Attached) {
    Table::open().unwrap().apply(&[Operation::FlushChain("spoofing_guard".into())]).unwrap();
}

#[test]
fn each_part_of_an_attachment_is_missed() {
    isolated(|| {
        uplink("10.89.0.1/24", 1500);
        let node = Node::new().with("ipam", json!({ "ranges": ["10.244.1.0/24", "fd00:10:244:1::/64"] }));
        let damages: [(Damage, &str); 9] = [
            (carry_less, "eth0 carries packets of 1400 bytes, not of 1500"),
            (carry_less_outside, " carries packets of 1300 bytes, not of 1500"),
            (|pod| lose_route_to(pod, "0.0.0.0/0"), "the container has no route to 0.0.0.0/0 via 169.254.1.1"),
            (|pod| lose_route_to(pod, "::/0"), "the container has no route to ::/0 via fe80::1"),
            (lose_address, "the container's interface does not have fd00:10:244:1::5"),
            (forget_gateway, "the container does not know its gateway 169.254.1.1"),
            (send_past_the_limit, "what the container sends does not pass where it is limited"),
            (receive_without_limit, "what the container receives is not limited to 1000000 B/s"),
            // The last: it is one for all.
            (lift_the_guard, "nothing keeps containers from sending under addresses of others"),
        ];
        for (number, (damage, expected)) in damages.into_iter().enumerate() {
            let pod = Attached::new(&node, &format!("pod-{number}"));
            assert_eq!(pod.faults(&node), "");
            damage(&pod);
            let faults = pod.faults(&node);
            assert!(faults.ends_with(expected) && !faults.contains(';'), "{faults}");
        }
    });
}
