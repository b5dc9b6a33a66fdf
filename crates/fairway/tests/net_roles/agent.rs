//! The agent.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use apiserver::client::{ENDPOINT_SLICES, NODES, SERVICES};
use datapath::conntrack::Conntrack;
use datapath::route::{MacAddress, Rtnetlink};
use datapath::testing::{isolated, wait_for};
use serde_json::{Value, json};

use crate::refusals::wait_for_event;
use crate::world::{DEADLINE, NODE, Reach, World, agent_metric, agent_page};

/// The device of the tunnel between nodes.
const TUNNEL: &str = "fw-vxlan";
const SERVICE: &str = "10.96.0.50:80";

/// A pod that tells everybody its address.
pub fn serve_tcp(address: &'static str) -> SocketAddr {
    let listener = TcpListener::bind((address, 8080)).unwrap();
    let endpoint = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            stream.unwrap().write_all(address.as_bytes()).unwrap();
        }
    });
    endpoint
}

/// The same over UDP.
fn serve_udp(address: &'static str) -> SocketAddr {
    let socket = UdpSocket::bind((address, 8080)).unwrap();
    let endpoint = socket.local_addr().unwrap();
    thread::spawn(move || {
        loop {
            let (_, client) = socket.recv_from(&mut [0; 64]).unwrap();
            socket.send_to(address.as_bytes(), client).unwrap();
        }
    });
    endpoint
}

/// Who answers at the Service, if anybody does.
pub fn ask_tcp() -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&SERVICE.parse().unwrap(), Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut address = String::new();
    stream.read_to_string(&mut address).ok()?;
    Some(address)
}

pub fn wait_for_answer(address: &str) {
    wait_for(&format!("{address} to answer"), DEADLINE, || ask_tcp().filter(|answer| answer == address));
}

#[test]
fn clients_of_a_service_reach_its_endpoints_as_they_change() {
    isolated(|| {
        let world = World::start_with_shop("TCP");
        let (one, two) = (serve_tcp("10.244.1.5"), serve_tcp("10.244.1.6"));
        assert_eq!(ask_tcp(), None, "nothing leads there yet");
        let _agent = world.spawn_agent();
        world.create_endpoints("shop", "TCP", &[one]);
        wait_for_answer("10.244.1.5");
        world.set_endpoints("shop", &[two]);
        wait_for_answer("10.244.1.6");
        world.set_endpoints("shop", &[]);
        wait_for("a refusal", DEADLINE, || {
            let outcome = TcpStream::connect_timeout(&SERVICE.parse().unwrap(), Duration::from_secs(1));
            outcome.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused).then_some(())
        });
        assert_eq!(wait_for_event(&world, "shop", "endpoints")["reason"], "NoReadyEndpoints");
    });
}

#[test]
fn the_runtime_learns_of_the_plugin_once_the_node_has_pod_addresses() {
    isolated(|| {
        let world = World::start();
        world.create(&NODES, "", &json!({ "metadata": { "name": NODE } }));
        let _agent = world.spawn_agent_alone(&[]);
        wait_for("the kernel to be in step", DEADLINE, || {
            agent_metric("kubeproxy_sync_proxy_rules_service_changes_total")
        });
        assert!(!world.cni_conf_dir().join("05-fairway.conflist").exists());
        let (code, why) = agent_page("/readyz").unwrap();
        assert_eq!((code, &*why), (503, "waiting for the cluster's objects and this node's pod addresses\n"));
    });
}

#[test]
fn an_agent_beside_another_plugin_waits_for_no_range_and_leaves_the_nodes_condition_to_it() {
    isolated(|| {
        let world = World::start();
        world.create(&NODES, "", &json!({ "metadata": { "name": NODE } }));
        let _agent = world.spawn_agent_alone(&["--cni", "false"]);
        wait_for("the agent to be ready", DEADLINE, || agent_page("/readyz").filter(|(code, _)| *code == 200));
        let conditions = world.get(&NODES, "", NODE)["status"]["conditions"].clone();
        assert!(!conditions.to_string().contains("NetworkUnavailable"), "{conditions}");
    });
}

#[test]
fn a_ready_node_has_the_plugin_its_configuration_and_a_network() {
    isolated(|| {
        let world = World::start();
        world.create_node();
        let _agent = world.spawn_agent();
        let text = std::fs::read_to_string(world.cni_conf_dir().join("05-fairway.conflist")).unwrap();
        let configuration: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(configuration["plugins"][0]["ipam"]["ranges"], json!(["10.244.1.0/24"]));
        assert!(world.directory.path().join("bin/fairway").exists());
        wait_for_network(&world);
    });
}

/// Waits until the Node says that its network works.
fn wait_for_network(world: &World) {
    wait_for("the node's condition", DEADLINE, || {
        let node = world.get(&NODES, "", NODE);
        let conditions = node["status"]["conditions"].as_array()?;
        conditions.iter().find(|c| c["type"] == "NetworkUnavailable" && c["status"] == "False").map(|_| ())
    });
}

#[test]
fn a_node_that_is_made_anew_is_told_to_have_a_network_too() {
    isolated(|| {
        let world = World::start();
        world.create_node();
        let _agent = world.spawn_agent();
        wait_for_network(&world);
        world.delete(&NODES, "", NODE);
        wait_for("the agent to see it", DEADLINE, || agent_page("/healthz").filter(|(code, _)| *code == 503));
        world.create_node();
        wait_for_network(&world);
    });
}

#[test]
fn connections_go_on_while_the_agent_is_dead_and_its_return_writes_nothing() {
    isolated(|| {
        let world = World::start_with_shop("TCP");
        world.create_endpoints("shop", "TCP", &[serve_tcp("10.244.1.5")]);
        let agent = world.spawn_agent();
        wait_for_answer("10.244.1.5");
        assert!(agent_metric("fairway_agent_kernel_operations_total").unwrap() > 0.0);
        agent.crash();
        assert_eq!(ask_tcp().as_deref(), Some("10.244.1.5"));
        let _agent = world.spawn_agent();
        assert_eq!(ask_tcp().as_deref(), Some("10.244.1.5"));
        assert_eq!(agent_metric("fairway_agent_kernel_operations_total"), Some(0.0));
    });
}

/// A pod that sends back what it gets, as long as it is asked.
fn serve_echo(address: &'static str) -> SocketAddr {
    let listener = TcpListener::bind((address, 8080)).unwrap();
    let endpoint = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut byte = [0];
                while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
            });
        }
    });
    endpoint
}

fn assert_echoes(stream: &mut TcpStream, when: &str) {
    let mut byte = [0];
    let echoed = stream.write_all(b"x").and_then(|()| stream.read_exact(&mut byte));
    assert!(echoed.is_ok() && byte == *b"x", "{when}: {echoed:?}");
}

#[test]
fn established_connections_live_through_a_crash_a_return_and_the_end_of_readiness() {
    isolated(|| {
        let world = World::start_with_shop("TCP");
        let (one, two) = (serve_echo("10.244.1.5"), serve_tcp("10.244.1.6"));
        world.create_endpoints("shop", "TCP", &[one]);
        let agent = world.spawn_agent();
        let mut stream = wait_for("a connection", DEADLINE, || {
            TcpStream::connect_timeout(&SERVICE.parse().unwrap(), Duration::from_secs(1)).ok()
        });
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        assert_echoes(&mut stream, "at first");
        agent.crash();
        assert_echoes(&mut stream, "while the agent is dead");
        let _agent = world.spawn_agent();
        assert_echoes(&mut stream, "after its return");
        world.set_endpoints("shop", &[two]);
        wait_for_answer("10.244.1.6");
        assert_echoes(&mut stream, "while new connections go elsewhere");
    });
}

#[test]
fn an_agent_that_finds_no_api_server_waits_and_leaves_the_kernel_as_it_is() {
    isolated(|| {
        let mut world = World::start_with_shop("TCP");
        world.create_endpoints("shop", "TCP", &[serve_tcp("10.244.1.5")]);
        world.spawn_agent().crash();
        world.stop_server();
        let _agent = world.spawn_agent_alone(&[]);
        let page = wait_for("its pages", DEADLINE, || agent_page("/readyz"));
        assert_eq!(page.0, 503);
        assert_eq!(ask_tcp().as_deref(), Some("10.244.1.5"));
        world.start_server(Reach::Everybody);
        wait_for("the agent to be ready", DEADLINE, || agent_page("/readyz").filter(|(code, _)| *code == 200));
        assert_eq!(agent_metric("fairway_agent_kernel_operations_total"), Some(0.0));
    });
}

#[test]
fn a_node_that_cannot_be_reached_stops_nothing_else() {
    isolated(|| {
        let world = World::start();
        world.create_node();
        world.create_node_at("far", "192.0.2.7", "10.244.2.0/24");
        world.create_service("shop", "10.96.0.50", "TCP");
        world.create_endpoints("shop", "TCP", &[serve_tcp("10.244.1.5")]);
        let _agent = world.spawn_agent_with(&["--routing", "native"]);
        wait_for_answer("10.244.1.5");
        assert_eq!(agent_metric("fairway_agent_routes_failed"), Some(1.0));
    });
}

fn udp_client() -> UdpSocket {
    let client = UdpSocket::bind(("10.89.0.1", 0)).unwrap();
    client.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    client
}

/// Who answers this client at the Service, if anybody does.
fn ask_udp(client: &UdpSocket) -> Option<String> {
    ask_udp_at(client, SERVICE)
}

fn ask_udp_at(client: &UdpSocket, address: &str) -> Option<String> {
    client.send_to(b"?", address).ok()?;
    let mut answer = [0; 64];
    let (len, _) = client.recv_from(&mut answer).ok()?;
    String::from_utf8(answer[..len].to_vec()).ok()
}

#[test]
fn an_endpoint_of_udp_that_leaves_keeps_conversations_and_no_port_that_asked_once() {
    isolated(|| {
        let world = World::start_with_shop("UDP");
        let (one, two) = (serve_udp("10.244.1.5"), serve_udp("10.244.1.6"));
        world.create_endpoints("shop", "UDP", &[one]);
        let _agent = world.spawn_agent();
        let (talker, asker) = (udp_client(), udp_client());
        wait_for("the first endpoint", DEADLINE, || ask_udp(&talker));
        // The kernel takes it for a conversation after two seconds.
        let began = Instant::now();
        wait_for("a conversation", DEADLINE, || ask_udp(&talker).filter(|_| began.elapsed() > Duration::from_secs(3)));
        let first = wait_for("an answer to a port that asks once", DEADLINE, || ask_udp(&asker));
        assert_eq!(first, "10.244.1.5");
        let removed = || {
            let name = r#"kubeproxy_conntrack_reconciler_deleted_entries_total{ip_family="IPv4"}"#;
            agent_metric(name).unwrap_or_default()
        };
        let before = removed();
        let endpoint = |address: SocketAddr, ready: bool| {
            let conditions = json!({ "ready": ready, "serving": true, "terminating": !ready });
            json!({ "addresses": [address.ip()], "nodeName": NODE, "conditions": conditions })
        };
        let endpoints = json!({ "endpoints": [endpoint(one, false), endpoint(two, true)] });
        world.merge(&ENDPOINT_SLICES, "default", "shop-1", endpoints);
        // Whoever goes on asking meanwhile becomes a conversation too.
        wait_for("the flow to be forgotten", DEADLINE, || (removed() > before).then_some(()));
        let next = wait_for("an answer of the other endpoint", DEADLINE, || ask_udp(&asker));
        assert_eq!(next, "10.244.1.6");
        let conversation = wait_for("an answer in the conversation", DEADLINE, || ask_udp(&talker));
        assert_eq!(conversation, "10.244.1.5");
    });
}

#[test]
fn the_tunnel_to_a_far_node_outlives_the_agent_and_goes_with_the_node() {
    isolated(|| {
        let world = World::start();
        world.create_node();
        world.create_node_at("far", "192.0.2.7", "10.244.2.0/24");
        let agent = world.spawn_agent();
        let mut links = Rtnetlink::open().unwrap();
        let made = links.require_link(TUNNEL).unwrap();
        assert_eq!(
            links.forwarding(made.index).unwrap(),
            [(MacAddress([2, 0xf4, 192, 0, 2, 7]), "192.0.2.7".parse().unwrap())]
        );
        agent.crash();
        assert_eq!(links.require_link(TUNNEL).unwrap(), made);
        let _agent = world.spawn_agent();
        assert_eq!(links.require_link(TUNNEL).unwrap(), made, "a new agent finds it as it is to be");
        assert_eq!(agent_metric("fairway_agent_routes_failed"), Some(0.0));
        world.delete(&NODES, "", "far");
        wait_for("the tunnel to go with the last node behind it", DEADLINE, || {
            links.link(TUNNEL).unwrap().is_none().then_some(())
        });
    });
}

#[test]
fn connections_to_pods_of_a_node_that_left_are_refused() {
    isolated(|| {
        let world = World::start();
        world.create_node();
        let ranges = ["10.244.2.0/24", "fd00:10:244:2::/64"];
        world.create(
            &NODES,
            "",
            &json!({
                "metadata": { "name": "far" },
                "spec": { "podCIDR": ranges[0], "podCIDRs": ranges },
                "status": { "addresses": [{ "type": "InternalIP", "address": "192.0.2.7" }] },
            }),
        );
        let agent = world.spawn_agent();
        let pods: [SocketAddr; 2] = ["10.244.2.5:80", "[fd00:10:244:2::5]:80"].map(|pod| pod.parse().unwrap());
        let failure = |pod| TcpStream::connect_timeout(pod, Duration::from_millis(200)).unwrap_err().kind();
        for pod in &pods {
            assert_ne!(failure(pod), ErrorKind::ConnectionRefused, "it is there, and far");
        }
        world.delete(&NODES, "", "far");
        for pod in &pods {
            wait_for("a refusal", DEADLINE, || (failure(pod) == ErrorKind::ConnectionRefused).then_some(()));
        }
        agent.end();
        let _agent = world.spawn_agent();
        assert_eq!(agent_metric("fairway_agent_kernel_operations_total"), Some(0.0), "an agent knows what was left");
        assert_eq!(pods.each_ref().map(failure), [ErrorKind::ConnectionRefused; 2]);
    });
}

#[test]
fn the_tunnels_checksums_are_left_to_whom_they_were_until_told_otherwise() {
    isolated(|| {
        let world = World::start();
        world.create_node();
        world.create_node_at("far", "192.0.2.7", "10.244.2.0/24");
        let agent = world.spawn_agent_with(&["--vxlan-checksums", "computed"]);
        let links = Rtnetlink::open().unwrap();
        assert!(!links.is_checksum_offloaded(TUNNEL).unwrap());
        agent.end();
        let agent = world.spawn_agent();
        assert!(!links.is_checksum_offloaded(TUNNEL).unwrap(), "what was found out once is kept");
        agent.end();
        let _agent = world.spawn_agent_with(&["--vxlan-checksums", "offloaded"]);
        assert!(links.is_checksum_offloaded(TUNNEL).unwrap());
    });
}

#[test]
fn a_client_of_udp_is_led_from_an_endpoint_that_is_gone_to_one_that_is_there() {
    isolated(|| {
        let world = World::start_with_shop("UDP");
        let (one, two) = (serve_udp("10.244.1.5"), serve_udp("10.244.1.6"));
        world.create_endpoints("shop", "UDP", &[one]);
        let _agent = world.spawn_agent();
        // One socket throughout: the kernel would go on sending its packets where it sent the first.
        let client = udp_client();
        let ask = || ask_udp(&client);
        wait_for("the first endpoint", DEADLINE, || ask().filter(|answer| answer == "10.244.1.5"));
        world.set_endpoints("shop", &[two]);
        wait_for("the second endpoint", DEADLINE, || ask().filter(|answer| answer == "10.244.1.6"));
    });
}

#[test]
fn a_client_of_udp_is_not_left_with_a_service_that_was_deleted_while_no_agent_ran() {
    isolated(|| {
        let world = World::start_with_shop("UDP");
        let port = json!({ "name": "main", "port": 80, "protocol": "UDP", "targetPort": 8080, "nodePort": 30080 });
        let spec = json!({ "type": "NodePort", "externalIPs": ["10.96.0.77"], "ports": [port] });
        world.merge(&SERVICES, "default", "shop", json!({ "spec": spec }));
        world.create_endpoints("shop", "UDP", &[serve_udp("10.244.1.5")]);
        let agent = world.spawn_agent();
        for address in ["10.89.0.1:30080", "10.96.0.77:80"] {
            let client = udp_client();
            wait_for(&format!("an answer at {address}"), DEADLINE, || ask_udp_at(&client, address));
        }
        let flows = || Conntrack::open().unwrap().translated_flows().unwrap().len();
        assert!(flows() >= 2, "the control: the kernel remembers both");
        agent.crash();
        world.delete(&SERVICES, "default", "shop");
        let _agent = world.spawn_agent();
        wait_for("the flows to be forgotten", DEADLINE, || (flows() == 0).then_some(()));
    });
}
