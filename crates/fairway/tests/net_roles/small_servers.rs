//! What the agent serves itself: health checks for load balancers, and node ports at the loopback addresses.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::thread;
use std::time::Duration;

use apiserver::client::{ENDPOINT_SLICES, NODES, SERVICES};
use datapath::route::Rtnetlink;
use datapath::testing::{isolated, wait_for};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, socket};
use serde_json::{Value, json};

use crate::world::{DEADLINE, NODE, World, agent_metric, agent_page, page};

const POD: &str = "10.244.1.5";

/// A Service of type LoadBalancer with a node port for TCP and one for UDP, both 30080, and a health check at 30999.
fn create_service(world: &World) {
    let port = |name: &str, protocol: &str| json!({ "name": name, "port": 80, "protocol": protocol, "targetPort": 8080, "nodePort": 30080 });
    let spec = json!({
        "type": "LoadBalancer", "clusterIP": "10.96.0.50", "externalTrafficPolicy": "Local",
        "healthCheckNodePort": 30999, "ports": [port("tcp", "TCP"), port("udp", "UDP")],
    });
    world.create(&SERVICES, "default", &json!({ "metadata": { "name": "shop" }, "spec": spec }));
}

fn create_endpoint(world: &World) {
    let port = |name: &str, protocol: &str| json!({ "name": name, "port": 8080, "protocol": protocol });
    let slice = json!({
        "metadata": { "name": "shop-1", "labels": { "kubernetes.io/service-name": "shop" } },
        "addressType": "IPv4",
        "ports": [port("tcp", "TCP"), port("udp", "UDP")],
        "endpoints": [{ "addresses": [POD], "nodeName": NODE, "conditions": { "ready": true } }],
    });
    world.create(&ENDPOINT_SLICES, "default", &slice);
}

/// The status, the headers and the JSON of a load balancer's answer.
fn health_check() -> Option<(u16, String, Value)> {
    health_check_by("GET")
}

fn health_check_by(method: &str) -> Option<(u16, String, Value)> {
    let mut stream = TcpStream::connect("10.89.0.1:30999").ok()?;
    stream.set_read_timeout(Some(DEADLINE)).ok()?;
    write!(stream, "{method} / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").ok()?;
    let mut response = String::new();
    stream.read_to_string(&mut response).ok()?;
    let (head, body) = response.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, head.to_owned(), serde_json::from_str(body).ok()?))
}

fn wait_for_health(code: u16) -> (String, Value) {
    wait_for(&format!("the answer {code}"), DEADLINE, || {
        health_check().filter(|(found, ..)| *found == code).map(|(_, head, body)| (head, body))
    })
}

#[test]
fn a_load_balancer_learns_whether_a_node_has_ready_endpoints() {
    isolated(|| {
        let world = World::start();
        world.create_node();
        create_service(&world);
        let _agent = world.spawn_agent();
        let (head, body) = wait_for_health(503);
        assert!(head.contains("X-Load-Balancing-Endpoint-Weight: 0"), "{head}");
        let service = json!({ "namespace": "default", "name": "shop" });
        assert_eq!(body, json!({ "service": service, "localEndpoints": 0, "serviceProxyHealthy": true }));

        create_endpoint(&world);
        let (head, body) = wait_for_health(200);
        assert!(head.contains("X-Load-Balancing-Endpoint-Weight: 1"), "{head}");
        assert!(head.contains("Content-Type: application/json"), "{head}");
        assert_eq!(health_check_by("POST").unwrap().0, 200, "any method will do");
        assert_eq!(body["localEndpoints"], 1);

        // It still serves, but no new clients should come.
        let conditions = json!({ "ready": false, "serving": true, "terminating": true });
        let endpoint = json!({ "addresses": [POD], "nodeName": NODE, "conditions": conditions });
        world.merge(&ENDPOINT_SLICES, "default", "shop-1", json!({ "endpoints": [endpoint] }));
        wait_for_health(503);

        let other_policy = json!({ "spec": { "externalTrafficPolicy": "Cluster", "healthCheckNodePort": null } });
        world.merge(&SERVICES, "default", "shop", other_policy);
        wait_for("the port to be closed", DEADLINE, || TcpStream::connect("10.89.0.1:30999").is_err().then_some(()));
    });
}

#[test]
fn health_checks_are_answered_where_node_ports_are_served() {
    isolated(|| {
        let world = World::start();
        world.create_node();
        create_service(&world);
        create_endpoint(&world);
        let _agent = world.spawn_agent_with(&["--node-port-addresses", "primary"]);
        wait_for_health(200);
        for elsewhere in ["127.0.0.1:30999", "10.244.1.6:30999"] {
            assert!(TcpStream::connect(elsewhere).is_err(), "{elsewhere}");
        }
    });
}

#[test]
fn load_balancers_are_told_when_the_node_is_about_to_be_deleted() {
    isolated(|| {
        let world = World::start();
        world.create_node();
        let _agent = world.spawn_agent();
        let status = |path: &str| agent_page(path).map(|(code, _)| code);
        assert_eq!((status("/healthz"), status("/livez")), (Some(200), Some(200)));
        let taint = json!({ "key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule" });
        world.merge(&NODES, "", NODE, json!({ "spec": { "taints": [taint] } }));
        wait_for("the node to be called ineligible", DEADLINE, || (status("/healthz") == Some(503)).then_some(()));
        let (_, body) = agent_page("/healthz").unwrap();
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&body["nodeEligible"], &body["healthy"]), (&json!(false), &json!(true)));
        assert_eq!(status("/livez"), Some(200));
        assert!(agent_metric("kubeproxy_proxy_healthz_total{code=\"503\"}").unwrap() >= 2.0);
    });
}

fn serve_tcp(address: &str) {
    let listener = TcpListener::bind((address, 8080)).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            stream.unwrap().write_all(b"hello").unwrap();
        }
    });
}

fn serve_udp() {
    let socket = UdpSocket::bind((POD, 8080)).unwrap();
    thread::spawn(move || {
        loop {
            let (_, client) = socket.recv_from(&mut [0; 64]).unwrap();
            socket.send_to(b"hello", client).unwrap();
        }
    });
}

fn ask_tcp(address: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(DEADLINE)).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok().filter(|len| *len > 0)?;
    Some(text)
}

fn ask_udp(from: &str, address: &str) -> Option<String> {
    let socket = UdpSocket::bind(from).ok()?;
    socket.set_read_timeout(Some(Duration::from_millis(100))).ok()?;
    socket.connect(address).ok()?;
    socket.send(b"?").ok()?;
    let mut answer = [0; 64];
    let len = socket.recv(&mut answer).ok()?;
    String::from_utf8(answer[..len].to_vec()).ok()
}

/// A node with a Service of node ports, whose endpoint answers to TCP.
fn world_with_served_ports() -> World {
    let world = World::start();
    world.create_node();
    create_service(&world);
    create_endpoint(&world);
    serve_tcp(POD);
    world
}

#[test]
fn node_ports_are_served_at_the_loopback_addresses() {
    isolated(|| {
        let world = world_with_served_ports();
        serve_udp();
        let agent = world.spawn_agent();
        for address in ["127.0.0.1:30080", "[::1]:30080"] {
            let answer = wait_for(&format!("TCP at {address}"), DEADLINE, || ask_tcp(address));
            assert_eq!(answer, "hello");
        }
        for (from, address) in [("127.0.0.1:0", "127.0.0.1:30080"), ("[::1]:0", "[::1]:30080")] {
            let answer = wait_for(&format!("UDP at {address}"), DEADLINE, || ask_udp(from, address));
            assert_eq!(answer, "hello");
        }
        world.merge(&SERVICES, "default", "shop", json!({ "spec": { "ports": [{ "port": 81 }] } }));
        wait_for("the relay to end", DEADLINE, || TcpStream::connect("127.0.0.1:30080").is_err().then_some(()));
        drop(agent);
    });
}

/// A masqueraded connection may get the number of a node port for its own: that is what the kernel tracks then.
#[test]
fn a_connection_that_comes_from_a_node_port_and_those_to_it_do_not_meet() {
    isolated(|| {
        let world = world_with_served_ports();
        let _agent = world.spawn_agent();
        let node_port: SocketAddr = "10.89.0.1:30080".parse().unwrap();
        wait_for("the node port", DEADLINE, || ask_tcp("10.89.0.1:30080"));

        let elsewhere = TcpListener::bind("10.244.1.6:9090").unwrap();
        let own = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        bind(own.as_raw_fd(), &SockaddrStorage::from(node_port)).unwrap();
        connect(own.as_raw_fd(), &SockaddrStorage::from(elsewhere.local_addr().unwrap())).unwrap();
        let mut own = TcpStream::from(own);
        let (mut other, from) = elsewhere.accept().unwrap();
        assert_eq!(from, node_port);
        assert_eq!(ask_tcp("10.89.0.1:30080").as_deref(), Some("hello"), "others reach the Service");
        other.write_all(b"yours").unwrap();
        let mut answer = [0; 5];
        own.set_read_timeout(Some(DEADLINE)).unwrap();
        own.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"yours", "the answers are not taken for connections to the Service");
    });
}

/// Why nobody answers at `address`; nothing when somebody does.
fn refusal(address: &str) -> Option<ErrorKind> {
    TcpStream::connect(address).err().map(|error| error.kind())
}

#[test]
fn a_node_port_without_endpoints_is_refused_at_the_loopback_addresses_and_connections_go_on() {
    isolated(|| {
        let world = World::start();
        world.create_node();
        create_service(&world);
        create_endpoint(&world);
        let listener = TcpListener::bind((POD, 8080)).unwrap();
        let _agent = world.spawn_agent();
        let loopbacks = ["127.0.0.1:30080", "[::1]:30080"];
        let relayed = || TcpStream::connect(loopbacks[0]).ok();
        let mut client = wait_for("the relay", DEADLINE, relayed);
        let (mut server, _) = listener.accept().unwrap();

        let nobody: [Value; 0] = [];
        world.merge(&ENDPOINT_SLICES, "default", "shop-1", json!({ "endpoints": nobody }));
        for address in loopbacks.into_iter().chain(["10.89.0.1:30080"]) {
            let refused = || refusal(address).filter(|kind| *kind == ErrorKind::ConnectionRefused);
            wait_for(&format!("a refusal at {address}"), DEADLINE, refused);
        }
        assert!(ask_udp("127.0.0.1:0", loopbacks[0]).is_none());
        server.write_all(b"hello").unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut answer = [0; 5];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"hello");
    });
}

#[test]
fn host_ports_are_served_at_the_loopback_address_of_ipv6() {
    isolated(|| {
        const POD6: &str = "fd00:10:244:1::5";
        let world = World::start();
        world.create_node();
        let mut links = Rtnetlink::open().unwrap();
        let loopback = links.require_link("lo").unwrap();
        links.add_address(loopback.index, format!("{POD6}/128").parse().unwrap()).unwrap();
        serve_tcp(POD6);
        let _agent = world.spawn_agent();
        let records = world.cni_state_dir().join("attachments");
        std::fs::create_dir_all(&records).unwrap();
        let port = json!({ "hostPort": 18080, "protocol": "tcp", "endpoint": format!("[{POD6}]:8080") });
        let owner = json!({ "containerID": "web", "ifname": "eth0" });
        let record = json!({ "owner": owner, "network": "fairway", "netns": "/run/netns/web", "hostPorts": [port] });
        std::fs::write(records.join("web:eth0"), record.to_string()).unwrap();
        assert_eq!(wait_for("the port", DEADLINE, || ask_tcp("[::1]:18080")), "hello");
        std::fs::remove_file(records.join("web:eth0")).unwrap();
        wait_for("the relay to end", DEADLINE, || TcpStream::connect("[::1]:18080").is_err().then_some(()));
    });
}

#[test]
fn connection_tracking_bears_late_segments_and_half_closed_connections() {
    isolated(|| {
        let world = World::start();
        world.create_node();
        let setting = |name: &str| std::fs::read_to_string(format!("/proc/sys/net/netfilter/{name}")).unwrap();
        let settings = || [setting("nf_conntrack_tcp_be_liberal"), setting("nf_conntrack_tcp_timeout_close_wait")];
        assert_eq!(settings(), ["0\n", "60\n"], "the control");
        let _agent = world.spawn_agent();
        assert_eq!(settings(), ["1\n", "3600\n"]);
        assert!(page("127.0.0.1:10246", "/metrics").is_some());
    });
}

#[test]
fn kube_proxys_ports_are_answered_while_nobody_else_has_them() {
    isolated(|| {
        let world = World::start();
        world.create_node();
        let kube_proxy = TcpListener::bind("127.0.0.1:10249").unwrap();
        let _agent = world.spawn_agent();
        let text =
            |address: &str, path: &str| page(address, path).filter(|(code, _)| *code == 200).map(|(_, body)| body);
        // Load balancers ask from outside.
        for address in ["10.89.0.1:10256", "[::1]:10256"] {
            let report = wait_for(&format!("the page at {address}"), DEADLINE, || text(address, "/healthz"));
            assert!(report.contains("lastUpdated"), "{report}");
        }
        assert_eq!(page("10.89.0.1:10256", "/metrics").unwrap().0, 404, "not for everybody");
        drop(kube_proxy);
        let mode = wait_for("the port that is free again", DEADLINE, || text("127.0.0.1:10249", "/proxyMode"));
        assert_eq!(mode, "nftables");
        assert!(text("127.0.0.1:10249", "/metrics").unwrap().contains("kubeproxy_sync_proxy_rules_duration_seconds"));
        assert!(page("10.89.0.1:10249", "/proxyMode").is_none(), "for the node alone");
    });
}
