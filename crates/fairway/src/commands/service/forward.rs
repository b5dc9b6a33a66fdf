//! `fairway service NAME`: where a sandbox's Service is reached from here: directly where this machine has a link into
//! the sandbox, else its ports on this machine's loopback address.
//!
//! The host's loopback and the sandbox's network are different worlds. This process listens in the one and then moves to
//! the other, where it connects; a socket stays in the world it was made in.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use apiserver::client::{Client, ClientError, ENDPOINT_SLICES, ListOptions, SERVICES};
use compile::plan::serving_nodes;
use model::from_kube::{self, SERVICE_LABEL};
use model::{Cluster, IpFamily, Name, TrafficPolicy};
use sandbox::machine::{HostLink, Record, Spec, StateDir, enter_namespaces};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cli::ForwardArgs;
use crate::commands::{block_on, state_root};
use crate::relay::{Loss, Relay, relay_connections, relay_datagrams};

/// What has to be entered to be where the sandbox's clients are.
const KINDS: [&str; 2] = ["user", "net"];
/// How many connections, and clients that send datagrams, there may be at once.
const MAX_CONVERSATIONS: usize = 1024;

/// Where one port of a Service is reached from outside the nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    /// The port's name, or its number if it has none.
    port: String,
    protocol: Transport,
    address: SocketAddr,
}

/// What can be forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Tcp,
    Udp,
}

impl Transport {
    /// A URL of this protocol; what is not a datagram is taken for HTTP, as it mostly is.
    pub(super) fn url(self, address: SocketAddr) -> String {
        match self {
            Self::Tcp => format!("http://{address}"),
            Self::Udp => format!("udp://{address}"),
        }
    }
}

/// Prints the URLs, and forwards until it is interrupted where that is needed or a port was asked for.
pub(super) fn run(args: &ForwardArgs, name: &str) -> Result<ExitCode> {
    let state = StateDir::new(&state_root()?, &args.sandbox)?;
    let record = state.read_record()?.filter(Record::is_running);
    let record = record.with_context(|| format!("sandbox {} is not up; start it with: fairway up", args.sandbox))?;
    let client = Client::unix(state.api_socket());
    let (service, slices) = block_on(read(&client, &args.namespace, name))?
        .with_context(|| format!("cannot read Service {}/{name}", args.namespace))?;
    let targets = targets_of(&service, &node_address(&service, &slices, &record.spec))?;
    let reached = |link: &HostLink| targets.iter().all(|target| link.leads_to(&state, target.address.ip()));
    if args.port.is_none() && record.host_link.as_ref().is_some_and(reached) {
        for target in &targets {
            print(args, name, target, target.address);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let doors = targets.into_iter().zip(0..).map(|(target, index)| listen(args, target, index));
    let doors: Vec<(Door, Target)> = doors.collect::<Result<_>>()?;
    for (door, target) in &doors {
        print(args, name, target, door.address()?);
    }
    if !args.url {
        say!("Forwarding until Ctrl-C.");
    }
    enter(&record)?;
    block_on(forward(doors))??;
    Ok(ExitCode::SUCCESS)
}

/// A Service and its EndpointSlices.
async fn read(client: &Client, namespace: &str, name: &str) -> Result<(Value, Vec<Value>), ClientError> {
    let service = client.get(&SERVICES, namespace, name).await?;
    let of_service = ListOptions::labels(&format!("{SERVICE_LABEL}={name}"));
    let slices = client.list(&ENDPOINT_SLICES, namespace, &of_service).await?;
    Ok((service, slices.items))
}

/// Why no node answers at a Service's node ports.
#[derive(Clone, Debug, PartialEq, Eq)]
enum NoNode {
    /// Its policy keeps to nodes with an endpoint, and none has one that serves.
    NoEndpoint,
    /// The nodes have no address of its first family.
    NoAddress(IpFamily),
    /// It cannot be served at all: what was refused of it, and why.
    Refused(String),
}

/// Where node ports of a Service answer: at a node's address of its first family, under externalTrafficPolicy Local of a
/// node with an endpoint.
fn node_address(service: &Value, slices: &[Value], spec: &Spec) -> Result<IpAddr, NoNode> {
    let unreadable = |error: serde_json::Error| NoNode::Refused(error.to_string());
    let admitted = from_kube::service(&serde_json::from_value(service.clone()).map_err(unreadable)?);
    let Some(service) = admitted.fact else {
        return Err(NoNode::Refused(admitted.rejected.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")));
    };
    let mut cluster = Cluster::default();
    for slice in slices {
        let admitted = from_kube::endpoint_slice(&serde_json::from_value(slice.clone()).map_err(unreadable)?);
        admitted.fact.into_iter().for_each(|slice| cluster.insert_slice(slice));
    }
    let family = service.kind.families().first().copied().unwrap_or(IpFamily::V4);
    let serving = serving_nodes(&service, family, &cluster);
    let answers = |node: &String| match service.external_policy {
        TrafficPolicy::Cluster => true,
        TrafficPolicy::Local => serving.contains(&Name::from(node.as_str())),
    };
    let mut nodes = spec.node_names().enumerate().filter(|(_, node)| answers(node));
    let (index, _) = nodes.next().ok_or(NoNode::NoEndpoint)?;
    let mut addresses = spec.node_addresses(index).into_iter();
    addresses.find(|address| IpFamily::of(*address) == family).ok_or(NoNode::NoAddress(family))
}

/// A socket in this machine's own network.
#[derive(Debug)]
enum Door {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

impl Door {
    fn open(protocol: Transport, port: u16) -> io::Result<Self> {
        let at = (Ipv4Addr::LOCALHOST, port);
        let door = match protocol {
            Transport::Tcp => Self::Tcp(TcpListener::bind(at)?),
            Transport::Udp => Self::Udp(UdpSocket::bind(at)?),
        };
        match &door {
            Self::Tcp(listener) => listener.set_nonblocking(true)?,
            Self::Udp(socket) => socket.set_nonblocking(true)?,
        }
        Ok(door)
    }

    fn address(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr(),
            Self::Udp(socket) => socket.local_addr(),
        }
    }
}

fn listen(args: &ForwardArgs, target: Target, index: u16) -> Result<(Door, Target)> {
    let port = args.port.map_or(Some(0), |port| port.checked_add(index)).context("there are no ports left")?;
    let door = Door::open(target.protocol, port)
        .with_context(|| format!("cannot listen on 127.0.0.1:{port}; choose another with --port"))?;
    Ok((door, target))
}

/// Where the ports of a Service are reached: at its load balancer address, or at the node's port.
fn targets_of(service: &Value, node: &Result<IpAddr, NoNode>) -> Result<Vec<Target>> {
    let ingress = &service["status"]["loadBalancer"]["ingress"][0]["ip"];
    let load_balancer: Option<IpAddr> = ingress.as_str().and_then(|text| text.parse().ok());
    let ports = service["spec"]["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
    let number = |value: &Value| value.as_u64().and_then(|number| u16::try_from(number).ok());
    let target = |port: &Value| {
        let protocol = match port["protocol"].as_str().unwrap_or("TCP") {
            "TCP" => Transport::Tcp,
            "UDP" => Transport::Udp,
            _ => return None,
        };
        let address = match load_balancer {
            Some(address) => SocketAddr::new(address, number(&port["port"])?),
            None => SocketAddr::new(*node.as_ref().ok()?, number(&port["nodePort"])?),
        };
        let name = port["name"].as_str().map_or_else(|| port["port"].to_string(), str::to_owned);
        Some(Target { port: name, protocol, address })
    };
    let targets: Vec<Target> = ports.iter().filter_map(target).collect();
    ensure!(!targets.is_empty(), "{}", why_unreached(service, node.as_ref().err()));
    Ok(targets)
}

/// Why a Service is not reached from outside the cluster, and the way out.
fn why_unreached(service: &Value, no_node: Option<&NoNode>) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (metadata, spec) = (&service["metadata"], &service["spec"]);
    let (namespace, name) = (text(&metadata["namespace"]), text(&metadata["name"]));
    let of = format!("Service {namespace}/{name}");
    let ports = || spec["ports"].as_array().into_iter().flatten();
    let is_pending = spec["type"] == "LoadBalancer"
        && ports().any(|port| port["protocol"] != "SCTP")
        && ports().all(|port| port["nodePort"].is_null());
    match text(&spec["type"]).as_str() {
        _ if is_pending => format!(
            "{of} has no load balancer address yet, and no node ports; for the reason: fairway service show {name} -n {namespace}"
        ),
        "ExternalName" => format!("{of} is another name for {}: ask for that", text(&spec["externalName"])),
        "NodePort" | "LoadBalancer" => match no_node {
            None => format!("{of} has no TCP or UDP port; only these are forwarded"),
            Some(NoNode::NoEndpoint) => format!(
                "{of} has externalTrafficPolicy Local, and no node has an endpoint of it that serves; \
                 see: kubectl get pods"
            ),
            Some(NoNode::NoAddress(family)) => {
                format!("{of} is of family {family}, and the nodes have no address of it")
            }
            Some(NoNode::Refused(why)) => format!("{of} is not served: {why}"),
        },
        _ if spec["clusterIP"] == "None" => {
            format!("{of} is headless: its pods are reached by its name, from inside the cluster alone")
        }
        _ => format!(
            "{of} is not reached from outside the cluster; make it one of type NodePort or LoadBalancer: \
             kubectl patch svc {name} -n {namespace} -p '{{\"spec\":{{\"type\":\"LoadBalancer\"}}}}'"
        ),
    }
}

/// Says that a port is reached at `address`.
fn print(args: &ForwardArgs, name: &str, target: &Target, address: SocketAddr) {
    let url = target.protocol.url(address);
    if args.url {
        say!("{url}");
    } else if address == target.address {
        say!("{}/{name} port {}: {url}", args.namespace, target.port);
    } else {
        say!("{}/{name} port {} at {}: {url}", args.namespace, target.port, target.address);
    }
}

/// Moves this process to where the sandbox's clients are. It has one thread.
fn enter(record: &Record) -> Result<()> {
    let theirs = |kind: &str| PathBuf::from(format!("/proc/{}/ns/{kind}", record.supervisor));
    let differs = |kind: &&str| {
        std::fs::read_link(theirs(kind)).ok() != std::fs::read_link(Path::new("/proc/self/ns").join(kind)).ok()
    };
    let paths: Vec<PathBuf> = KINDS.iter().filter(|kind| differs(kind)).map(|kind| theirs(kind)).collect();
    enter_namespaces(&paths).context("cannot enter the sandbox")
}

async fn forward(doors: Vec<(Door, Target)>) -> Result<()> {
    let (places, cancel) = (Arc::new(Semaphore::new(MAX_CONVERSATIONS)), CancellationToken::new());
    let mut doorkeepers = JoinSet::new();
    for (door, target) in doors {
        let (from, to) = (door.address()?, target.address);
        let relay = Relay { from, to, places: Arc::clone(&places), cancel: cancel.clone(), tell };
        match door {
            Door::Tcp(listener) => {
                doorkeepers.spawn(relay_connections(tokio::net::TcpListener::from_std(listener)?, relay))
            }
            Door::Udp(socket) => doorkeepers.spawn(relay_datagrams(tokio::net::UdpSocket::from_std(socket)?, relay)),
        };
    }
    tokio::select! {
        _ = tokio::signal::ctrl_c() => Ok(()),
        ended = doorkeepers.join_next() => Ok(ended.context("nothing to forward")??),
    }
}

/// Tells the user what does not get through; that one side broke off, the other has noticed.
fn tell(loss: &Loss) {
    if !matches!(loss, Loss::BrokenOff { .. }) {
        eprintln!("{loss}");
    }
}

#[cfg(test)]
mod tests {
    use sandbox::machine::Shape;
    use serde_json::json;

    use super::*;

    fn service(status: &Value) -> Value {
        json!({
            "metadata": { "namespace": "shop", "name": "web" },
            "spec": { "type": "NodePort", "ports": [
                { "name": "http", "port": 80, "nodePort": 30080 }, { "port": 53, "protocol": "UDP", "nodePort": 30053 },
            ] },
            "status": status,
        })
    }

    fn addresses(service: &Value) -> Vec<String> {
        targets_of(service, &Ok(Ipv4Addr::new(10, 89, 0, 1).into()))
            .unwrap()
            .iter()
            .map(|target| format!("{} {}", target.port, target.protocol.url(target.address)))
            .collect()
    }

    #[test]
    fn a_load_balancer_address_goes_before_a_node_port() {
        let given = json!({ "loadBalancer": { "ingress": [{ "ip": "10.89.0.200" }] } });
        assert_eq!(addresses(&service(&given)), ["http http://10.89.0.200:80", "53 udp://10.89.0.200:53"]);
        assert_eq!(addresses(&service(&json!({}))), ["http http://10.89.0.1:30080", "53 udp://10.89.0.1:30053"]);
    }

    #[test]
    fn node_ports_are_asked_for_where_they_answer() {
        let range = |text: &str| text.parse().unwrap();
        let shape = Shape {
            pod_cidrs: vec![range("10.244.0.0/16"), range("fd00:10:244::/56")],
            service_cidrs: vec![range("10.96.0.0/16"), range("fd00:10:96::/112")],
            ..Shape::default()
        };
        let spec = Spec::new(shape).unwrap();
        let endpoint = |last: u8, family: &str, node: &str, conditions: &Value| {
            let address = if family == "IPv4" { format!("10.244.0.{last}") } else { format!("fd00:10:244::{last}") };
            json!({ "addresses": [address], "nodeName": node, "conditions": conditions })
        };
        let slice = |name: &str, family: &str, endpoints: &[Value]| {
            let labels = json!({ "kubernetes.io/service-name": "web" });
            json!({ "metadata": { "namespace": "shop", "name": name, "labels": labels },
                "addressType": family, "ports": [{ "port": 8080 }], "endpoints": endpoints })
        };
        let unready = endpoint(2, "IPv4", "node2", &json!({ "ready": false }));
        let leaving = endpoint(4, "IPv4", "node2", &json!({ "ready": false, "serving": true, "terminating": true }));
        let ready = endpoint(3, "IPv4", "node3", &json!({}));
        let ready6 = endpoint(3, "IPv6", "node2", &json!({}));
        let found = |families: &Value, spec_change: &Value, slices: &[Value]| {
            let mut service = json!({ "metadata": { "namespace": "shop", "name": "web" }, "spec": {
                "type": "NodePort", "ipFamilies": families, "ports": [{ "port": 80, "nodePort": 30080 }],
                "clusterIP": if families[0] == "IPv4" { "10.96.0.1" } else { "fd00:10:96::1" },
            } });
            for (field, value) in spec_change.as_object().unwrap() {
                service["spec"][field] = value.clone();
            }
            node_address(&service, slices, &spec).map(|address| address.to_string())
        };
        let (four, six, local) = (json!(["IPv4"]), json!(["IPv6"]), json!({ "externalTrafficPolicy": "Local" }));
        let published = json!({ "externalTrafficPolicy": "Local", "publishNotReadyAddresses": true });
        let of_four = |endpoints: &[Value]| slice("four", "IPv4", endpoints);
        for (families, change, slices, expected) in [
            (&four, &json!({}), vec![], Ok("10.89.0.1")),
            (&six, &json!({}), vec![], Ok("fd00:10:89::1")),
            (&four, &local, vec![of_four(&[unready.clone(), ready.clone()])], Ok("10.89.0.3")),
            (&four, &local, vec![of_four(&[leaving.clone(), ready.clone()])], Ok("10.89.0.3")),
            (&four, &local, vec![of_four(&[leaving])], Ok("10.89.0.2")),
            (&four, &published, vec![of_four(std::slice::from_ref(&unready))], Ok("10.89.0.2")),
            (&four, &local, vec![of_four(&[unready])], Err(NoNode::NoEndpoint)),
            (&four, &local, vec![slice("six", "IPv6", std::slice::from_ref(&ready6))], Err(NoNode::NoEndpoint)),
            (&six, &local, vec![of_four(&[ready]), slice("six", "IPv6", &[ready6])], Ok("fd00:10:89::2")),
            (&four, &local, vec![], Err(NoNode::NoEndpoint)),
        ] {
            let said = found(families, change, &slices);
            assert_eq!(said, expected.map(str::to_owned), "{families} {change} {slices:?}");
        }
    }

    #[test]
    fn a_service_that_is_not_reached_from_outside_is_refused_with_the_way_out() {
        let refusal = |spec: Value, node: Result<IpAddr, NoNode>| {
            let service = json!({ "metadata": { "namespace": "shop", "name": "web" }, "spec": spec });
            targets_of(&service, &node).unwrap_err().to_string()
        };
        let node = || Ok(Ipv4Addr::LOCALHOST.into());
        let ports = json!([{ "port": 80, "nodePort": 30080 }]);
        for (spec, node, expected) in [
            (json!({ "type": "ClusterIP", "ports": [{ "port": 80 }] }), node(), "kubectl patch svc web -n shop"),
            (json!({ "type": "ClusterIP", "clusterIP": "None", "ports": [{ "port": 80 }] }), node(), "is headless"),
            (json!({ "type": "ExternalName", "externalName": "example.org" }), node(), "another name for example.org"),
            (json!({ "type": "NodePort", "ports": ports }), Err(NoNode::NoEndpoint), "externalTrafficPolicy Local"),
            (
                json!({ "type": "NodePort", "ports": [{ "port": 80, "protocol": "SCTP" }] }),
                node(),
                "no TCP or UDP port",
            ),
            (
                json!({ "type": "LoadBalancer", "ports": [{ "port": 80 }] }),
                node(),
                "no load balancer address yet, and no node ports; for the reason: fairway service show web -n shop",
            ),
            (json!({ "type": "LoadBalancer", "ports": ports }), Err(NoNode::NoEndpoint), "externalTrafficPolicy Local"),
        ] {
            let said = refusal(spec, node);
            assert!(said.contains("Service shop/web") && said.contains(expected), "{said}");
        }
    }
}
