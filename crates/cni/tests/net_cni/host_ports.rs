//! Ports of the node that lead to a container: real sockets from everywhere, the plugin as a program.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use crate::runtime::{Node, SECONDS, address, finish, time_of_an_addition};
use compile::{NodeView, Plan};
use datapath::nft::Table;
use datapath::route::{Route, Rtnetlink};
use datapath::testing::{self, isolated};
use datapath::{Datapath, Netns, Wanted};
use model::Cluster;
use serde_json::{Value, json};

/// The node's addresses and those of another machine on its network.
const NODE: [&str; 2] = ["10.89.0.1", "fd00:89::1"];
const OTHER: [&str; 2] = ["10.89.0.2", "fd00:89::2"];
const TARGET: u16 = 8080;
/// How long silence is listened to.
const SILENCE: Duration = Duration::from_millis(500);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip(address), port)
}

/// Connects the node (the calling namespace) with another machine, which knows no way to its pods.
fn other_machine() -> Netns {
    let pairs = [0, 1].map(|family| {
        let length = if family == 0 { 24 } else { 64 };
        [NODE, OTHER].map(|addresses| ipnet::IpNet::new(ip(addresses[family]), length).unwrap())
    });
    let other = testing::other_machine(&pairs);
    let mut host = Rtnetlink::open().unwrap();
    let link = host.require_link(testing::UPLINK).unwrap();
    let default = Route::via("0.0.0.0/0".parse().unwrap(), ip(OTHER[0]), link.index);
    host.replace_route(&default).unwrap();
    other
}

fn dual_stack() -> Node {
    Node::new().with("ipam", json!({ "ranges": ["10.244.1.0/24", "fd00:10:244:1::/64"] }))
}

fn mapping(host_ip: &str, host_port: u16, protocol: &str) -> Value {
    json!({ "hostPort": host_port, "containerPort": TARGET, "protocol": protocol, "hostIP": host_ip })
}

/// A container with these ports of the node.
struct Pod {
    netns: Netns,
    addresses: Vec<IpAddr>,
    config: Value,
}

fn pod(node: &Node, name: &str, mappings: &[Value]) -> Pod {
    let netns = node.container(name);
    let mut config = node.config.clone();
    config["runtimeConfig"] = json!({ "portMappings": mappings });
    let said = node.call_with("ADD", name, &config);
    assert!(said.is_success, "{said:?}");
    let ips = said.output["ips"].as_array().unwrap().clone();
    let addresses = ips.iter().map(|ip| address(&json!({ "ips": [ip] }))).collect();
    config["prevResult"] = said.output;
    Pod { netns, addresses, config }
}

/// Connects and returns whom the pod saw; `Err` when nobody answers.
fn seen_over_tcp(server: &Pod, client: &Netns, to: SocketAddr) -> io::Result<IpAddr> {
    let own = server.addresses.iter().find(|own| own.is_ipv4() == to.is_ipv4()).unwrap();
    let listener = server.netns.run(|| TcpListener::bind((*own, TARGET)).unwrap()).unwrap();
    client.run(|| TcpStream::connect_timeout(&to, SECONDS)).unwrap()?;
    Ok(listener.accept().unwrap().1.ip())
}

/// Whether anybody takes a connection.
fn is_open(client: &Netns, to: SocketAddr) -> bool {
    client.run(|| TcpStream::connect_timeout(&to, SECONDS)).unwrap().is_ok()
}

/// A question over UDP and whom the pod saw; `Err` when there is no answer.
fn seen_over_udp(server: &Pod, client: &UdpSocket, to: SocketAddr) -> io::Result<IpAddr> {
    let own = server.addresses.iter().find(|own| own.is_ipv4() == to.is_ipv4()).unwrap();
    let service = server.netns.run(|| UdpSocket::bind((*own, TARGET)).unwrap()).unwrap();
    service.set_read_timeout(Some(SECONDS)).unwrap();
    client.set_read_timeout(Some(SECONDS)).unwrap();
    client.send_to(b"who am I?", to)?;
    let mut buffer = [0; 16];
    let (_, from) = service.recv_from(&mut buffer)?;
    service.send_to(b"this", from).unwrap();
    let (length, answered) = client.recv_from(&mut buffer)?;
    assert_eq!((&buffer[..length], answered), (&b"this"[..], to));
    Ok(from.ip())
}

fn udp_client(netns: &Netns, address: &str) -> UdpSocket {
    netns.run(|| UdpSocket::bind((ip(address), 0)).unwrap()).unwrap()
}

#[test]
fn a_port_leads_to_its_pod_from_everywhere_and_clients_keep_their_addresses() {
    isolated(|| {
        let (other, node) = (other_machine(), dual_stack());
        let server = pod(&node, "server", &[mapping("", 80, "tcp")]);
        let client = pod(&node, "client", &[]);
        let host = Netns::current().unwrap();
        for (family, unspecific) in NODE.into_iter().enumerate() {
            let to = at(unspecific, 80);
            assert_eq!(seen_over_tcp(&server, &other, to).unwrap(), ip(OTHER[family]), "from another machine");
            assert_eq!(seen_over_tcp(&server, &host, to).unwrap(), ip(NODE[family]), "from the node");
            assert_eq!(seen_over_tcp(&server, &client.netns, to).unwrap(), client.addresses[family], "from a pod");
            assert_eq!(seen_over_tcp(&server, &server.netns, to).unwrap(), ip(NODE[family]), "from itself");
        }
        let loopback = at("127.0.0.1", 80);
        assert_eq!(seen_over_tcp(&server, &host, loopback).unwrap(), ip(NODE[0]), "at the loopback address");
    });
}

#[test]
fn udp_is_served_alike() {
    isolated(|| {
        let (other, node) = (other_machine(), dual_stack());
        let server = pod(&node, "server", &[mapping("", 53, "udp")]);
        let host = Netns::current().unwrap();
        for family in 0..2 {
            let from_other = udp_client(&other, OTHER[family]);
            assert_eq!(seen_over_udp(&server, &from_other, at(NODE[family], 53)).unwrap(), ip(OTHER[family]));
        }
        let from_self = udp_client(&server.netns, "0.0.0.0");
        assert_eq!(seen_over_udp(&server, &from_self, at(NODE[0], 53)).unwrap(), ip(NODE[0]));
        let from_host = udp_client(&host, "127.0.0.1");
        assert_eq!(seen_over_udp(&server, &from_host, at("127.0.0.1", 53)).unwrap(), ip(NODE[0]));
    });
}

#[test]
fn the_same_port_of_another_address_or_protocol_is_another_port() {
    isolated(|| {
        let (other, node) = (other_machine(), Node::new());
        let loopback = pod(&node, "loopback", &[mapping("127.0.0.1", 80, "udp")]);
        let tcp = pod(&node, "tcp", &[mapping(NODE[0], 80, "tcp")]);
        let udp = pod(&node, "udp", &[mapping(NODE[0], 80, "udp")]);
        let host = Netns::current().unwrap();
        // The conformance suite asks at the loopback address from the node's own.
        let from_node = udp_client(&host, NODE[0]);
        assert_eq!(seen_over_udp(&loopback, &from_node, at("127.0.0.1", 80)).unwrap(), ip(NODE[0]));
        assert_eq!(seen_over_tcp(&tcp, &other, at(NODE[0], 80)).unwrap(), ip(OTHER[0]));
        assert_eq!(seen_over_udp(&udp, &udp_client(&other, OTHER[0]), at(NODE[0], 80)).unwrap(), ip(OTHER[0]));
        assert!(seen_over_tcp(&tcp, &host, at("127.0.0.1", 80)).is_err());
    });
}

#[test]
fn a_port_at_an_address_of_another_machine_takes_nothing_from_it() {
    isolated(|| {
        let (other, node) = (other_machine(), dual_stack());
        let _greedy = pod(&node, "greedy", &OTHER.map(|address| mapping(address, 80, "tcp")));
        let host = Netns::current().unwrap();
        for family in 0..2 {
            let to = at(OTHER[family], 80);
            let listener = other.run(|| TcpListener::bind(to).unwrap()).unwrap();
            host.run(|| TcpStream::connect_timeout(&to, SECONDS).unwrap()).unwrap();
            assert_eq!(listener.accept().unwrap().1.ip(), ip(NODE[family]));
        }
    });
}

#[test]
fn a_port_at_the_loopback_address_is_for_the_node_alone() {
    isolated(|| {
        let (other, node) = (other_machine(), Node::new());
        let pods = ["127.0.0.1", ""].map(|address| mapping(address, if address.is_empty() { 81 } else { 80 }, "udp"));
        let server = pod(&node, "server", &pods);
        let service = server.netns.run(|| UdpSocket::bind((server.addresses[0], TARGET)).unwrap()).unwrap();
        // A machine that sends to its neighbour what is for nobody but itself.
        let mut links = Rtnetlink::open_in(&other).unwrap();
        let link = links.links().unwrap().into_iter().find(|link| link.name != "lo").unwrap();
        let key = format!("ipv4/conf/{}/route_localnet", link.name);
        other.run(|| datapath::sysctl::write(&key, "1").unwrap()).unwrap();
        links.add_route(&Route::via("127.0.0.1/32".parse().unwrap(), ip(NODE[0]), link.index)).unwrap();
        let mut buffer = [0; 1];
        for port in [80, 81] {
            udp_client(&other, OTHER[0]).send_to(b"x", at("127.0.0.1", port)).unwrap();
            service.set_read_timeout(Some(SILENCE)).unwrap();
            assert!(service.recv_from(&mut buffer).is_err(), "port {port} from another machine");
            udp_client(&Netns::current().unwrap(), "127.0.0.1").send_to(b"x", at("127.0.0.1", port)).unwrap();
            service.set_read_timeout(Some(SECONDS)).unwrap();
            assert!(service.recv_from(&mut buffer).is_ok(), "port {port} from the node");
        }
    });
}

#[test]
fn a_deletion_frees_the_port_for_the_next_pod_and_clients_that_keep_their_port_follow() {
    isolated(|| {
        let (other, node) = (other_machine(), Node::new());
        let both = [mapping("", 80, "udp"), mapping("", 80, "tcp")];
        let (from, to) = (udp_client(&other, OTHER[0]), at(NODE[0], 80));
        let first = pod(&node, "first", &both);
        assert!(seen_over_udp(&first, &from, to).is_ok() && seen_over_tcp(&first, &other, to).is_ok());
        let taken = node.call_with("ADD", "second", &{
            node.container("second");
            first.config.clone()
        });
        assert_eq!(taken.output["code"], 103, "{taken:?}");
        for _ in 0..2 {
            assert!(node.call_with("DEL", "first", &first.config).is_success);
        }
        assert!(!is_open(&other, to));
        // This one finds no port, and must not keep those after it from finding the next pod's.
        from.send_to(b"anybody?", to).unwrap();
        let next = pod(&node, "next", &both);
        assert!(seen_over_udp(&next, &from, to).is_ok() && seen_over_tcp(&next, &other, to).is_ok());
    });
}

#[test]
fn ports_of_pods_that_are_gone_without_a_word_are_free() {
    isolated(|| {
        let (other, node) = (other_machine(), Node::new());
        let gone = pod(&node, "gone", &[mapping("", 80, "tcp")]);
        let mut inside = Rtnetlink::open_in(&gone.netns).unwrap();
        let eth0 = inside.require_link("eth0").unwrap();
        inside.delete_link(eth0.index).unwrap();
        let next = pod(&node, "next", &[mapping("", 80, "tcp")]);
        assert!(seen_over_tcp(&next, &other, at(NODE[0], 80)).is_ok());
        let mut config = node.config.clone();
        config["cni.dev/valid-attachments"] = json!([]);
        assert!(node.call_with("GC", "next", &config).is_success);
        assert!(!is_open(&other, at(NODE[0], 80)));
        assert_eq!(cni::recorded_host_ports(&node.state()).unwrap(), []);
    });
}

/// What an agent on this node would do with what it knows.
fn agent_applies(node: &Node) {
    let mut plan = Plan::of(NodeView::new("node"), &Cluster::default());
    plan.set_host_ports(&cni::recorded_host_ports(&node.state()).unwrap());
    Datapath::open().unwrap().apply(&Wanted::from(&plan)).unwrap();
}

#[test]
fn ports_outlive_the_agent_and_a_table_that_is_made_anew() {
    isolated(|| {
        let (other, node) = (other_machine(), Node::new());
        let to = at(NODE[0], 80);
        let before = pod(&node, "before", &[mapping("", 80, "tcp")]);
        assert!(seen_over_tcp(&before, &other, to).is_ok(), "no agent ever ran");
        agent_applies(&node);
        assert!(seen_over_tcp(&before, &other, to).is_ok(), "an agent came");
        let after = pod(&node, "after", &[mapping("", 81, "tcp")]);
        agent_applies(&node);
        assert!(seen_over_tcp(&after, &other, at(NODE[0], 81)).is_ok(), "a pod came while the agent was there");
        Table::open().unwrap().apply(&[compile::ruleset::Operation::DeleteTable]).unwrap();
        assert!(seen_over_tcp(&before, &other, to).is_err(), "the table is gone");
        agent_applies(&node);
        assert!(seen_over_tcp(&before, &other, to).is_ok() && seen_over_tcp(&after, &other, at(NODE[0], 81)).is_ok());
        assert_eq!(cni::restore_host_ports(&node.state()).unwrap(), 0);
        Table::open().unwrap().apply(&[compile::ruleset::Operation::DeleteTable]).unwrap();
        assert!(cni::restore_host_ports(&node.state()).unwrap() > 0);
        assert!(seen_over_tcp(&before, &other, to).is_ok(), "restored");
    });
}

#[test]
fn a_check_misses_a_port_that_leads_nowhere() {
    isolated(|| {
        let node = Node::new();
        let pod = pod(&node, "pod", &[mapping("", 80, "tcp")]);
        let said = node.call_with("CHECK", "pod", &pod.config);
        assert!(said.is_success, "{said:?}");
        Table::open().unwrap().apply(&[compile::ruleset::Operation::DeleteTable]).unwrap();
        let said = node.call_with("CHECK", "pod", &pod.config);
        assert_eq!(
            said.output["msg"],
            "the container's network is not as it should be: nothing keeps containers from sending under addresses of \
             others; host port TCP 80 does not lead to 10.244.1.1:8080",
            "the guard against forged addresses went with the table"
        );
    });
}

#[test]
fn a_call_killed_at_any_point_leaves_no_port_after_deletion() {
    isolated(|| {
        let (other, node) = (other_machine(), Node::new());
        let mut config = node.config.clone();
        config["runtimeConfig"] = json!({ "portMappings": [mapping("", 80, "tcp"), mapping("", 53, "udp")] });
        let _pod = node.container("pod");
        let whole = time_of_an_addition(&node, "pod", &config);
        let mut interrupted = 0;
        for step in 0..30 {
            let mut child = node.start("ADD", "pod", &config);
            let until = Instant::now() + whole * step / 30;
            while Instant::now() < until {
                std::hint::spin_loop();
            }
            child.kill().unwrap();
            interrupted += usize::from(!finish(child).is_success);
            let said = node.call_with("DEL", "pod", &config);
            assert!(said.is_success, "{said:?}");
            assert_eq!(node.leftovers(), Vec::<String>::new(), "killed at step {step}");
            // Whatever stands in the maps is not written down.
            assert_eq!(cni::restore_host_ports(&node.state()).unwrap(), 0, "killed at step {step}");
        }
        assert!(interrupted > 5, "only {interrupted} of 30 calls were killed in the middle");
        let pod = pod(&node, "last", &[mapping("", 80, "tcp")]);
        assert!(seen_over_tcp(&pod, &other, at(NODE[0], 80)).is_ok());
    });
}
