//! What a runtime wishes for one container: addresses, an Ethernet address, limits; and what a container may not.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use datapath::route::Rtnetlink;
use datapath::testing::{isolated, wait_for};
use datapath::{Netns, sysctl};
use serde_json::{Value, json};

use crate::runtime::{Node, SECONDS, Said, address, seen_by, uplink};

/// A node whose runtime wishes this for every container.
fn wishing(node: &Node, wishes: Value) -> Value {
    let mut config = node.config.clone();
    config["runtimeConfig"] = wishes;
    config
}

fn add(node: &Node, name: &str, config: &Value) -> (Netns, Said) {
    let netns = node.container(name);
    let said = node.call_with("ADD", name, config);
    (netns, said)
}

#[test]
fn a_container_gets_the_addresses_it_is_to_have() {
    isolated(|| {
        let node = Node::new();
        let config = wishing(&node, json!({ "ips": ["10.244.1.77/24"], "mac": "0a:58:0a:f4:01:4d" }));
        let (netns, said) = add(&node, "fixed", &config);
        assert!(said.is_success, "{said:?}");
        assert_eq!(said.output["ips"][0]["address"], "10.244.1.77/32");
        let eth0 = Rtnetlink::open_in(&netns).unwrap().require_link("eth0").unwrap();
        assert_eq!(eth0.mac.unwrap().to_string(), "0a:58:0a:f4:01:4d");
        let (_, other) = add(&node, "other", &wishing(&node, json!({ "ips": ["10.244.1.77"] })));
        let message = other.output["msg"].as_str().unwrap();
        assert_eq!((other.output["code"].as_u64(), message), (Some(103), "10.244.1.77 is in use by container fixed"));
        assert_eq!(node.reserved(), ["10.244.1.77"]);
    });
}

#[test]
fn names_are_answered_as_the_runtime_wishes() {
    isolated(|| {
        let node = Node::new().with("dns", json!({ "nameservers": ["192.0.2.1"] }));
        let (_, said) = add(&node, "configured", &node.config);
        assert_eq!(said.output["dns"], json!({ "nameservers": ["192.0.2.1"] }));
        let config = wishing(&node, json!({ "dns": { "servers": ["10.96.0.10"], "searches": ["x"], "options": [] } }));
        let (_, said) = add(&node, "wished", &config);
        assert_eq!(said.output["dns"], json!({ "nameservers": ["10.96.0.10"], "search": ["x"] }));
    });
}

#[test]
fn settings_are_made_in_the_containers_namespace() {
    isolated(|| {
        let node = Node::new().with("sysctl", json!({ "net.ipv4.conf.eth0.arp_notify": "1" }));
        let (netns, said) = add(&node, "pod", &node.config);
        assert!(said.is_success, "{said:?}");
        assert_eq!(netns.run(|| sysctl::read("ipv4/conf/eth0/arp_notify").unwrap()).unwrap(), "1");
        assert!(sysctl::read("ipv4/conf/eth0/arp_notify").is_err(), "the host has no eth0");
    });
}

/// How long it takes to send so many bytes over TCP, as the receiver sees it.
fn transfer(from: &Netns, to: &Netns, address: IpAddr, length: usize) -> Duration {
    let listener = to.run(|| TcpListener::bind((address, 0)).unwrap()).unwrap();
    let target = listener.local_addr().unwrap();
    let mut sender = from.run(|| TcpStream::connect_timeout(&target, SECONDS).unwrap()).unwrap();
    let (mut receiver, _) = listener.accept().unwrap();
    let started = Instant::now();
    let sending = std::thread::spawn(move || sender.write_all(&vec![0; length]).unwrap());
    let mut received = 0;
    let mut buffer = vec![0; 65_536];
    while received < length {
        let count = receiver.read(&mut buffer).unwrap();
        assert!(count > 0, "ended after {received} of {length} bytes");
        received += count;
    }
    sending.join().unwrap();
    started.elapsed()
}

#[test]
fn what_a_container_receives_and_sends_is_limited_each_on_its_own() {
    isolated(|| {
        const BITS_PER_SECOND: u64 = 16_000_000;
        const LENGTH: usize = 1_000_000;
        uplink("10.89.0.1/24", 1500);
        let node = Node::new();
        let (free, free_said) = add(&node, "free", &node.config);
        let slow_in =
            wishing(&node, json!({ "bandwidth": { "ingressRate": BITS_PER_SECOND, "ingressBurst": i32::MAX } }));
        let slow_out =
            wishing(&node, json!({ "bandwidth": { "egressRate": BITS_PER_SECOND, "egressBurst": i32::MAX } }));
        let (receiver, receiver_said) = add(&node, "receiver", &slow_in);
        let (sender, sender_said) = add(&node, "sender", &slow_out);
        assert!(receiver_said.is_success && sender_said.is_success, "{receiver_said:?} {sender_said:?}");
        let host = Netns::current().unwrap();
        // What may be ahead of the rate is a tenth of a second's worth.
        let slowest = Duration::from_secs_f64((LENGTH as f64 * 8.0 / BITS_PER_SECOND as f64) - 0.1) * 9 / 10;
        let own: IpAddr = "10.89.0.1".parse().unwrap();
        assert!(transfer(&free, &receiver, address(&receiver_said.output), LENGTH) > slowest, "received too fast");
        assert!(transfer(&sender, &host, own, LENGTH) > slowest, "sent too fast");
        // A busy machine may be slow as well, but what is limited is never fast.
        let wait_for_speed = |what, from: &Netns, to: &Netns, address| {
            wait_for(what, SECONDS, || (transfer(from, to, address, LENGTH) < slowest).then_some(()));
        };
        wait_for_speed("sending without a limit", &receiver, &host, own);
        wait_for_speed("receiving without a limit", &host, &sender, address(&sender_said.output));
        wait_for_speed("a container without limits", &host, &free, address(&free_said.output));
        for (name, config, said) in [("receiver", slow_in, receiver_said), ("sender", slow_out, sender_said)] {
            let mut config = config;
            config["prevResult"] = said.output;
            let checked = node.call_with("CHECK", name, &config);
            assert!(checked.is_success, "{checked:?}");
            assert!(node.call_with("DEL", name, &config).is_success);
        }
        assert!(node.call("DEL", "free").is_success);
        assert_eq!(node.leftovers(), Vec::<String>::new());
    });
}

#[test]
fn a_container_cannot_send_under_an_address_that_is_not_its_own() {
    isolated(|| {
        uplink("10.89.0.1/24", 1500);
        let node = Node::new().with("ipam", json!({ "ranges": ["10.244.1.0/24", "fd00:10:244:1::/64"] }));
        let (honest, _) = node.add("honest");
        let (victim, result) = node.add("victim");
        let own = address(&result);
        assert_eq!(seen_by(&victim, &honest, own), "10.244.1.1".parse::<IpAddr>().unwrap());
        let v6: IpAddr = "fd00:10:244:1::2".parse().unwrap();
        for (stolen, to) in [("10.244.1.200", own), ("192.0.2.7", own), ("fd00:10:244:1::77", v6)] {
            let stolen: IpAddr = stolen.parse().unwrap();
            let mut inside = Rtnetlink::open_in(&honest).unwrap();
            let eth0 = inside.require_link("eth0").unwrap();
            inside.add_address(eth0.index, stolen.into()).unwrap();
            let receiver = victim.run(|| UdpSocket::bind((to, 0)).unwrap()).unwrap();
            let target = receiver.local_addr().unwrap();
            let send = |from: IpAddr| {
                honest.run(|| UdpSocket::bind((from, 0)).unwrap().send_to(b"x", target).unwrap()).unwrap();
            };
            let mut buffer = [0; 1];
            send(stolen);
            receiver.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
            assert!(receiver.recv_from(&mut buffer).is_err(), "{stolen} passed");
            let true_address = if to.is_ipv4() { "10.244.1.1" } else { "fd00:10:244:1::1" };
            send(true_address.parse().unwrap());
            receiver.set_read_timeout(Some(SECONDS)).unwrap();
            assert_eq!(receiver.recv_from(&mut buffer).unwrap().1.ip().to_string(), true_address);
        }
    });
}
