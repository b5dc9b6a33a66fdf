//! What others do to the node's side of attachments is put right from what is written down.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use cni::{Damage, Repairs, damages};
use datapath::Netns;
use datapath::route::{Link, RouteFilter, Rtnetlink, Veth, VethEnd};
use datapath::testing::isolated;
use serde_json::{Value, json};

use crate::runtime::{Node, Said, address, seen_by, uplink};

const LIMIT: u64 = 8_000_000;

fn dual_stack() -> Node {
    uplink("10.89.0.1/24", 1500);
    let mut host = Rtnetlink::open().unwrap();
    let outside = host.require_link("uplink").unwrap().index;
    host.add_address(outside, "fd00:89::1/64".parse().unwrap()).unwrap();
    Node::new().with("ipam", json!({ "ranges": ["10.244.1.0/24", "fd00:10:244:1::/64"] }))
}

/// A pod and the host's end of its link.
struct Pod {
    netns: Netns,
    addresses: Vec<IpAddr>,
    end: String,
}

fn pod(node: &Node, name: &str, wishes: Value) -> Pod {
    let netns = node.container(name);
    let said = node.call_with("ADD", name, &node.config_with(wishes));
    assert!(said.is_success, "{said:?}");
    let ips = said.output["ips"].as_array().unwrap().clone();
    let addresses = ips.iter().map(|ip| address(&json!({ "ips": [ip] }))).collect();
    Pod { netns, addresses, end: said.output["interfaces"][0]["name"].as_str().unwrap().to_owned() }
}

impl Pod {
    fn link(&self, host: &mut Rtnetlink) -> Link {
        host.require_link(&self.end).unwrap()
    }

    fn assert_reached(&self, node: &Netns) {
        for address in &self.addresses {
            seen_by(&self.netns, node, *address);
        }
    }
}

/// Removes all routes of ours, as `ip route flush proto 117` and systemd-networkd do.
fn flush_routes(host: &mut Rtnetlink) {
    for route in host.routes(RouteFilter::Ours).unwrap() {
        assert!(host.delete_route(&route).unwrap());
    }
}

/// What one repair finds, and that it puts it right.
fn repaired(node: &Node) -> Vec<Damage> {
    let found = damages(&node.state()).unwrap();
    let repaired = Repairs::new(node.state()).put_right().unwrap();
    assert!(repaired.failures.is_empty(), "{:?}", repaired.failures);
    assert_eq!(repaired.damages, found);
    assert_eq!(damages(&node.state()).unwrap(), [], "after the repair");
    found
}

fn faults(node: &Node) -> Vec<String> {
    let found = repaired(node);
    assert!(found.iter().all(|damage| damage.owner == "shop/cart-0"), "{found:?}");
    found.into_iter().flat_map(|damage| damage.faults).collect()
}

#[test]
fn routes_that_are_flushed_are_back_and_pods_are_reached() {
    isolated(|| {
        let (node, here) = (dual_stack(), Netns::current().unwrap());
        let pods = ["one", "two"].map(|name| pod(&node, name, json!({})));
        assert_eq!(repaired(&node), []);
        flush_routes(&mut Rtnetlink::open().unwrap());
        let expected: Vec<String> = ["10.244.1.1", "fd00:10:244:1::1", "10.244.1.2", "fd00:10:244:1::2"]
            .iter()
            .map(|address| format!("the host has no route to {address}"))
            .collect();
        let mut found = faults(&node);
        found.sort_by_key(|fault| expected.iter().position(|each| each == fault));
        assert_eq!(found, expected);
        pods.iter().for_each(|pod| pod.assert_reached(&here));
    });
}

#[test]
fn a_link_that_was_down_leads_to_its_pod_again() {
    isolated(|| {
        let (node, here, mut host) = (dual_stack(), Netns::current().unwrap(), Rtnetlink::open().unwrap());
        let pod = pod(&node, "pod", json!({}));
        let link = pod.link(&mut host).index;
        host.set_down(link).unwrap();
        let down = faults(&node);
        assert_eq!(down[0], format!("the host's link {} is down", pod.end));
        pod.assert_reached(&here);
        host.set_down(link).unwrap();
        host.set_up(link).unwrap();
        assert!(!faults(&node).iter().any(|fault| fault.ends_with("is down")));
        pod.assert_reached(&here);
    });
}

#[test]
fn what_is_set_otherwise_on_the_link_is_set_back() {
    isolated(|| {
        let (node, here, mut host) = (dual_stack(), Netns::current().unwrap(), Rtnetlink::open().unwrap());
        let pod = pod(&node, "pod", json!({ "portMappings": [{ "hostPort": 80, "containerPort": 80 }] }));
        let link = pod.link(&mut host);
        // With less than IPv6 needs the kernel takes its routes away (RFC 8200, section 5).
        host.set_mtu(link.index, 1000).unwrap();
        let found = faults(&node);
        assert_eq!(found[0], format!("{} carries packets of 1000 bytes, not of 1500", pod.end));
        assert!(found.contains(&"the host has no route to fd00:10:244:1::1".to_owned()), "{found:?}");
        host.set_mac(link.index, datapath::route::MacAddress([2, 0, 0, 0, 0, 9])).unwrap();
        let found = faults(&node);
        assert_eq!(found[0], format!("{} does not have the Ethernet address {}", pod.end, link.mac.unwrap()));
        assert!(host.delete_neighbour(link.index, pod.addresses[0]).unwrap());
        assert_eq!(faults(&node), ["the host does not know 10.244.1.1 by the container's Ethernet address"]);
        datapath::sysctl::write(&format!("ipv4/conf/{}/route_localnet", pod.end), "0").unwrap();
        assert_eq!(faults(&node), ["clients at the node's loopback address do not reach the host ports"]);
        pod.assert_reached(&here);
    });
}

#[test]
fn limits_that_somebody_lifts_hold_again() {
    isolated(|| {
        let (node, mut host) = (dual_stack(), Rtnetlink::open().unwrap());
        let bandwidth = json!({ "ingressRate": LIMIT, "egressRate": LIMIT });
        let pod = pod(&node, "pod", json!({ "bandwidth": bandwidth }));
        let link = pod.link(&mut host).index;
        assert!(host.unlimit_rate(link).unwrap());
        assert_eq!(faults(&node), ["what the container receives is not limited to 1000000 B/s"]);
        assert!(host.stop_redirecting(link).unwrap());
        assert_eq!(faults(&node), ["what the container sends does not pass where it is limited"]);
        let detour = host.redirection(link).unwrap().unwrap();
        assert!(host.delete_link(detour).unwrap());
        assert_eq!(faults(&node), ["what the container sends is not limited to 1000000 B/s"]);
        assert_eq!(host.rate_limit(link).unwrap(), Some(LIMIT / 8));
    });
}

/// The interface another plugin would have made.
fn made_by_another(node: &Node, container: &str) -> (Netns, Link) {
    let netns = node.container(container);
    let mut host = Rtnetlink::open().unwrap();
    let end = VethEnd { name: "other", mac: None, netns: None };
    let peer = VethEnd { name: "eth0", mac: None, netns: Some(&netns) };
    let link = host.create_veth(&Veth { end, peer, mtu: 1500 }).unwrap();
    (netns, link)
}

#[test]
fn limits_on_another_plugins_link_are_kept_and_the_rest_of_it_is_left_alone() {
    isolated(|| {
        let (node, mut host) = (Node::new(), Rtnetlink::open().unwrap());
        let (_netns, link) = made_by_another(&node, "pod");
        let mut config = node.config_with(json!({ "bandwidth": { "ingressRate": LIMIT, "egressRate": LIMIT } }));
        config.as_object_mut().unwrap().remove("ipam");
        config["prevResult"] = json!({ "cniVersion": "1.1.0", "interfaces": [], "ips": [] });
        assert!(node.call_with("ADD", "pod", &config).is_success);
        assert!(host.unlimit_rate(link.index).unwrap());
        host.set_mtu(link.index, 1400).unwrap();
        host.set_down(link.index).unwrap();
        assert_eq!(faults(&node), ["what the container receives is not limited to 1000000 B/s"]);
        let link = host.require_link("other").unwrap();
        assert_eq!((link.mtu, link.is_up), (1400, false));
        assert!(node.call_with("DEL", "pod", &config).is_success);
        assert_eq!(repaired(&node), []);
        assert_eq!((host.rate_limit(link.index).unwrap(), host.redirection(link.index).unwrap()), (None, None));
    });
}

#[test]
fn an_attachment_that_is_half_made_or_gone_is_left_alone() {
    isolated(|| {
        let (node, mut host) = (dual_stack(), Rtnetlink::open().unwrap());
        let pod = pod(&node, "pod", json!({}));
        let record = node.state().join("attachments/pod:eth0");
        let whole: Value = serde_json::from_slice(&std::fs::read(&record).unwrap()).unwrap();
        let mut half = whole.clone();
        half.as_object_mut().unwrap().remove("made");
        std::fs::write(&record, half.to_string()).unwrap();
        flush_routes(&mut host);
        assert_eq!(repaired(&node), []);
        assert_eq!(host.routes(RouteFilter::Ours).unwrap(), []);
        std::fs::write(&record, whole.to_string()).unwrap();
        let link = pod.link(&mut host).index;
        host.delete_link(link).unwrap();
        assert_eq!(repaired(&node), []);
    });
}

#[test]
fn repairs_among_calls_leave_nothing_behind_and_find_nothing_to_do() {
    isolated(|| {
        let node = dual_stack();
        let names = ["one", "two", "three"];
        let _namespaces = names.map(|name| node.container(name));
        let config = node.config_with(json!({ "bandwidth": { "egressRate": LIMIT } }));
        let is_done = AtomicBool::new(false);
        thread::scope(|scope| {
            let repairing = scope.spawn(|| {
                let mut repairs = Repairs::new(node.state());
                let mut found = Vec::new();
                while !is_done.load(Ordering::Relaxed) {
                    let repaired = repairs.put_right().unwrap();
                    assert!(repaired.failures.is_empty(), "{:?}", repaired.failures);
                    found.extend(repaired.damages);
                }
                found
            });
            for _ in 0..10 {
                for command in ["ADD", "DEL"] {
                    let calls = names.map(|name| node.start(command, name, &config));
                    let said: Vec<Said> = calls.into_iter().map(crate::runtime::finish).collect();
                    assert!(said.iter().all(|said| said.is_success), "{said:?}");
                }
            }
            is_done.store(true, Ordering::Relaxed);
            assert_eq!(repairing.join().unwrap(), []);
        });
        assert_eq!(node.leftovers(), Vec::<String>::new());
    });
}
