//! The way from the host's own network into a sandbox. Each test is in a network of its own, which it takes for the host's.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::process::Stdio;
use std::time::Duration;

use apiserver::client::{Client, PODS, SERVICES};
use datapath::route::{Rtnetlink, Veth, VethEnd};
use datapath::testing::isolated;
use ipnet::IpNet;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sandbox::machine::StateDir;
use serde_json::{Value, json};

use crate::harness::{Place, until};

const BOTH: [&str; 4] =
    ["--pod-cidr", "10.244.0.0/16,fd00:10:244::/56", "--service-cidr", "10.96.0.0/16,fd00:10:96::/112"];
const SECOND: Duration = Duration::from_secs(1);

/// The host of a test: nothing but a loopback interface.
fn host() -> Rtnetlink {
    let mut host = Rtnetlink::open().unwrap();
    let loopback = host.require_link("lo").unwrap().index;
    host.set_up(loopback).unwrap();
    host
}

/// All links and all destinations of routes.
fn state_of(host: &mut Rtnetlink) -> (BTreeSet<String>, BTreeSet<String>) {
    let links = host.links().unwrap().into_iter().map(|link| link.name);
    let routes = host.destinations().unwrap().into_iter().map(|(range, link)| format!("{range} {link:?}"));
    (links.collect(), routes.collect())
}

fn api(place: &Place, name: &str) -> Client {
    Client::unix(StateDir::new(&place.state(), name).unwrap().api_socket())
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// A Service of type LoadBalancer with a TCP and a UDP port and one endpoint.
fn serve(place: &Place, name: &str, service: &Value) -> Value {
    let api = api(place, name);
    let pod = json!({
        "metadata": { "name": "web", "labels": { "app": "web" } },
        "spec": { "nodeName": "node2", "containers": [{ "name": "web", "image": "agnhost", "args": ["netexec"] }] },
    });
    let mut spec = json!({
        "type": "LoadBalancer", "selector": { "app": "web" },
        "ports": [
            { "name": "http", "port": 80, "targetPort": 8080 },
            { "name": "echo", "port": 81, "targetPort": 8081, "protocol": "UDP" },
        ],
    });
    for (key, value) in service.as_object().unwrap() {
        spec[key] = value.clone();
    }
    let mut found = Value::Null;
    block_on(async {
        api.create(&PODS, "default", &pod).await.unwrap();
        api.create(&SERVICES, "default", &json!({ "metadata": { "name": "web" }, "spec": spec })).await.unwrap();
    });
    until("the service has an address", || {
        found = block_on(api.get(&SERVICES, "default", "web")).unwrap();
        found["status"]["loadBalancer"]["ingress"][0]["ip"].is_string()
    });
    found
}

/// The name of the pod that answers HTTP at an address.
fn asked_by_tcp(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, SECOND).ok()?;
    stream.set_read_timeout(Some(SECOND)).ok()?;
    stream.write_all(b"GET /hostname HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.lines().last().map(str::to_owned)
}

/// The same by a datagram.
fn asked_by_udp(address: SocketAddr) -> Option<String> {
    let any: SocketAddr = if address.is_ipv4() { "0.0.0.0:0".parse() } else { "[::]:0".parse() }.unwrap();
    let socket = UdpSocket::bind(any).ok()?;
    socket.set_read_timeout(Some(SECOND)).ok()?;
    socket.connect(address).ok()?;
    socket.send(b"hostname").ok()?;
    let mut answer = [0; 64];
    let length = socket.recv(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer[..length]).into_owned())
}

fn answers(what: &str, ask: impl Fn() -> Option<String>) {
    until(what, || ask().as_deref() == Some("web"));
}

#[test]
fn the_hosts_own_programs_reach_services_of_both_families_and_nothing_of_it_stays() {
    isolated(|| {
        let mut host = host();
        let before = state_of(&mut host);
        let place = Place::joined();
        let name = place.name();
        let up = place.succeed(&[&["up", "--name", &name, "--nodes", "2", "--networks", "2"], &BOTH[..]].concat());
        assert!(
            up.err.contains("10.89.0.0/24,10.89.1.0/24,fd00:10:89::/64,fd00:10:89:1::/64 (link fairway0)"),
            "{}",
            up.err
        );
        let service = serve(&place, &name, &json!({ "ipFamilyPolicy": "RequireDualStack" }));
        let ingress = service["status"]["loadBalancer"]["ingress"].as_array().unwrap();
        let addresses: Vec<IpAddr> = ingress.iter().map(|each| each["ip"].as_str().unwrap().parse().unwrap()).collect();
        assert_eq!(addresses.iter().map(IpAddr::is_ipv4).collect::<Vec<_>>(), [true, false]);
        let first = addresses[0];
        for address in addresses {
            answers(&format!("{address} answers over TCP"), || asked_by_tcp((address, 80).into()));
            answers(&format!("{address} answers over UDP"), || asked_by_udp((address, 81).into()));
        }
        let node_port = service["spec"]["ports"][0]["nodePort"].as_u64().unwrap().try_into().unwrap();
        for node in ["10.89.0.1", "10.89.1.1", "fd00:10:89::1", "fd00:10:89:1::1"] {
            let node: IpAddr = node.parse().unwrap();
            answers(&format!("the port of {node} answers"), || asked_by_tcp((node, node_port).into()));
        }
        let said = place.succeed(&["service", "web", "--url", "--sandbox", &name]);
        assert_eq!(said.out, format!("http://{first}:80\nudp://{first}:81\n"));
        let shown = place.succeed(&["service", "show", "web"]);
        assert!(shown.out.contains(&format!("http://{first}:80")) && shown.out.contains("udp://"), "{}", shown.out);
        place.succeed(&["down", "--name", &name]);
        assert_eq!(state_of(&mut host), before);
    });
}

#[test]
fn the_link_goes_with_a_supervisor_that_is_killed() {
    isolated(|| {
        let mut host = host();
        let before = state_of(&mut host);
        let place = Place::joined();
        let name = place.up(&["--nodes", "1"]);
        assert_ne!(state_of(&mut host), before);
        let record = fs::read(place.state().join(&name).join("sandbox.json")).unwrap();
        let record: Value = serde_json::from_slice(&record).unwrap();
        let supervisor = record["supervisor"].as_i64().unwrap().try_into().unwrap();
        kill(Pid::from_raw(supervisor), Signal::SIGKILL).unwrap();
        until("the kernel took the link and its routes", || state_of(&mut host) == before);
        until("it is dead", || place.run(&["status"]).out.contains("Dead"));
        place.succeed(&["up", "--name", &name, "--nodes", "1"]);
        assert_ne!(state_of(&mut host), before, "the next one has a link again");
    });
}

#[test]
fn a_second_sandbox_and_what_the_host_has_are_left_alone() {
    isolated(|| {
        let mut host = host();
        let place = Place::joined();
        let first = place.up(&["--nodes", "1"]);
        let between = state_of(&mut host);
        let name = place.name();
        let up = place.succeed(&["up", "--name", &name, "--nodes", "2"]);
        assert!(
            up.err.contains("not directly: 10.89.0.0/24 overlaps 10.89.") && up.err.contains("(fairway0)"),
            "{}",
            up.err
        );
        assert_eq!(state_of(&mut host), between);
        serve(&place, &name, &json!({}));
        let mut forward =
            place.command(&["service", "web", "--url", "--sandbox", &name]).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(forward.stdout.take().unwrap()).lines();
        let mut door = |scheme| lines.next().unwrap().unwrap().trim_start_matches(scheme).parse().unwrap();
        let (tcp, udp): (SocketAddr, SocketAddr) = (door("http://"), door("udp://"));
        assert!(tcp.ip().is_loopback() && udp.ip().is_loopback());
        answers("the forwarded TCP port answers", || asked_by_tcp(tcp));
        answers("the forwarded UDP port answers", || asked_by_udp(udp));
        forward.kill().unwrap();
        forward.wait().unwrap();
        for name in [&first, &name] {
            place.succeed(&["down", "--name", name]);
        }

        let end = |name| VethEnd { name, mac: None, netns: None };
        let link = host.create_veth(&Veth { end: end("office"), peer: end("socket"), mtu: 1500 }).unwrap();
        let taken: IpNet = "10.89.0.7/29".parse().unwrap();
        host.add_address(link.index, taken).unwrap();
        let before = state_of(&mut host);
        let up = place.succeed(&["up", "--name", &name, "--nodes", "1"]);
        assert!(up.err.contains("10.89.0.0/24 overlaps 10.89.0.") && up.err.contains("(office)"), "{}", up.err);
        assert_eq!(state_of(&mut host), before);
    });
}
