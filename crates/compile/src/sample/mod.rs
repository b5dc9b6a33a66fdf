//! Clusters and packets for tests and benchmarks: small random ones, for holding implementations of the same meaning
//! against each other, and large [plain](plain_cluster) ones.
//!
//! The random ones are made from a string of bytes: the same bytes make the same cluster on every machine, and a shorter
//! string makes a simpler one, so that a property test that fails can shrink its input. The addresses are always those
//! of [`NODES`], [`ENDPOINTS`] and the like, so that a test with real sockets can set them up beforehand.

mod plain;

pub use plain::{PLAIN_PORT, add_plain, plain_address, plain_cluster, plain_endpoints, plain_service, plain_slice};

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use model::{
    Affinity, Clients, Cluster, Endpoint, EndpointPort, EndpointSlice, IpFamily, Name, NamespacedName, Node, Protocol,
    Service, ServiceKind, ServicePort, TargetPort, TrafficPolicy,
};

use crate::packet::{Entry, Packet};

/// A node of sample clusters: its name, its address, the first three bytes of its pods' addresses.
pub struct SampleNode {
    /// The node's name.
    pub name: &'static str,
    /// Its InternalIP.
    pub address: Ipv4Addr,
    /// The network of its pods, a /24.
    pub pods: Ipv4Addr,
}

/// The nodes a sample cluster may have; the first always exists and is the one plans are for.
pub const NODES: [SampleNode; 2] = [
    SampleNode { name: "node1", address: Ipv4Addr::new(10, 89, 0, 1), pods: Ipv4Addr::new(10, 244, 1, 0) },
    SampleNode { name: "node2", address: Ipv4Addr::new(10, 89, 0, 2), pods: Ipv4Addr::new(10, 244, 2, 0) },
];

/// Where endpoints may be: three pods on each node, the nodes themselves, a machine outside the cluster.
pub const ENDPOINTS: [Ipv4Addr; 9] = [
    Ipv4Addr::new(10, 244, 1, 2),
    Ipv4Addr::new(10, 244, 1, 3),
    Ipv4Addr::new(10, 244, 1, 4),
    Ipv4Addr::new(10, 244, 2, 2),
    Ipv4Addr::new(10, 244, 2, 3),
    Ipv4Addr::new(10, 244, 2, 4),
    Ipv4Addr::new(10, 89, 0, 1),
    Ipv4Addr::new(10, 89, 0, 2),
    Ipv4Addr::new(198, 51, 100, 9),
];

/// Clients that are no endpoints: a pod on the first node and a machine outside the cluster.
pub const CLIENTS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 244, 1, 9), Ipv4Addr::new(192, 0, 2, 7)];

/// Addresses outside the cluster that Services may claim.
pub const EXTERNAL: [Ipv4Addr; 2] = [Ipv4Addr::new(203, 0, 113, 1), Ipv4Addr::new(203, 0, 113, 2)];

/// The ports endpoints listen on.
pub const TARGET_PORTS: [u16; 2] = [8080, 9090];

/// A string of bytes read as choices; past its end every choice is the first.
pub struct Choices<'a> {
    bytes: std::slice::Iter<'a, u8>,
}

impl<'a> Choices<'a> {
    /// The choices `bytes` stand for.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes: bytes.iter() }
    }

    /// One of `0..count`; 0 when `count` is 0.
    fn below(&mut self, count: usize) -> usize {
        self.bytes.next().map_or(0, |byte| usize::from(*byte).checked_rem(count).unwrap_or(0))
    }

    fn of<T: Copy>(&mut self, options: &[T], default: T) -> T {
        options.get(self.below(options.len())).copied().unwrap_or(default)
    }

    /// Yes, once in `times`.
    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == times - 1
    }
}

/// A cluster of up to two nodes and five Services.
pub fn cluster(choices: &mut Choices<'_>) -> Cluster {
    let mut cluster = Cluster::default();
    for node in NODES.iter().take(1 + choices.below(2)) {
        cluster.nodes.insert(node.name.into(), Arc::new(sample_node(node)));
    }
    for index in 0..choices.below(6) {
        replace_service(choices, &mut cluster, index);
    }
    cluster
}

/// The cluster after one to three of its objects came, went or changed.
pub fn change(choices: &mut Choices<'_>, cluster: &Cluster) -> Cluster {
    let mut cluster = cluster.clone();
    for _ in 0..=choices.below(3) {
        match choices.below(8) {
            0 => {
                let node = NODES.get(choices.below(NODES.len())).unwrap_or(&NODES[0]);
                if cluster.nodes.remove(node.name).is_none() {
                    cluster.nodes.insert(node.name.into(), Arc::new(sample_node(node)));
                }
            }
            1 => {
                let name = service_name(choices.below(5));
                cluster.services.remove(&name);
            }
            2 => {
                let name = service_name(choices.below(5));
                cluster.endpoint_slices.remove(&name);
            }
            _ => {
                let index = choices.below(5);
                replace_service(choices, &mut cluster, index);
            }
        }
    }
    cluster
}

/// A packet that has to do with the cluster: mostly from a client or endpoint to some frontend.
pub fn packet(choices: &mut Choices<'_>, cluster: &Cluster) -> Packet {
    let sources: Vec<Ipv4Addr> = CLIENTS.into_iter().chain(ENDPOINTS).collect();
    let source = choices.of(&sources, CLIENTS[0]);
    let mut destinations = frontends(cluster);
    destinations.extend(ENDPOINTS.map(|address| (Protocol::Tcp, IpAddr::from(address), TARGET_PORTS[0])));
    let unknown = (Protocol::Tcp, IpAddr::from(EXTERNAL[0]), 9);
    destinations.push(unknown);
    let (protocol, destination, port) = choices.of(&destinations, unknown);
    let entered = match source.octets() {
        octets if octets == NODES[0].address.octets() => Entry::Host,
        [10, 244, 1, _] => Entry::Pod,
        _ => Entry::Outside,
    };
    Packet { source: source.into(), destination, protocol, port, entered }
}

fn sample_node(node: &SampleNode) -> Node {
    let pods = ipnet::Ipv4Net::new_assert(node.pods, 24);
    Node {
        name: node.name.into(),
        addresses: vec![node.address.into()],
        pod_cidrs: vec![pods.into()],
        labels: BTreeMap::new(),
    }
}

fn service_name(index: usize) -> NamespacedName {
    NamespacedName::new("shop", format!("service{index}"))
}

fn replace_service(choices: &mut Choices<'_>, cluster: &mut Cluster, index: usize) {
    let service = service(choices, index);
    let name = service.name.clone();
    let slices = (0..choices.below(3)).map(|number| {
        let slice = slice(choices, &service, number);
        (slice.name.name.clone(), Arc::new(slice))
    });
    let slices = slices.collect();
    cluster.endpoint_slices.insert(name.clone(), slices);
    cluster.services.insert(name, Arc::new(service));
}

fn service(choices: &mut Choices<'_>, index: usize) -> Service {
    let policies = [TrafficPolicy::Cluster, TrafficPolicy::Cluster, TrafficPolicy::Local];
    let ports =
        [("http", Protocol::Tcp, 80, 30_080), ("dns", Protocol::Udp, 53, 30_053), ("alt", Protocol::Tcp, 81, 0)];
    let ports = ports.into_iter().take(1 + choices.below(3)).map(|(name, protocol, port, node_port)| ServicePort {
        name: name.into(),
        protocol,
        port: NonZeroU16::MIN.saturating_add(port - 1),
        target: TargetPort::Name(name.into()),
        node_port: NonZeroU16::new(node_port).filter(|_| choices.once_in(2)),
    });
    Service {
        name: service_name(index),
        ports: ports.collect(),
        kind: kind(choices, index),
        internal_policy: choices.of(&policies, TrafficPolicy::Cluster),
        external_policy: choices.of(&policies, TrafficPolicy::Cluster),
        affinity: if choices.once_in(4) {
            Affinity::ClientIp { timeout: Duration::from_secs(60) }
        } else {
            Affinity::None
        },
        clients: clients(choices),
        publish_not_ready: choices.once_in(8),
        delegated: choices.once_in(16),
    }
}

/// Mostly everybody; else up to three ranges, of which some lie in others.
fn clients(choices: &mut Choices<'_>) -> Clients {
    const RANGES: [(Ipv4Addr, u8); 5] = [
        (Ipv4Addr::new(192, 0, 2, 0), 24),
        (Ipv4Addr::new(10, 244, 1, 0), 24),
        (Ipv4Addr::new(10, 244, 0, 0), 16),
        (NODES[0].address, 32),
        (Ipv4Addr::UNSPECIFIED, 0),
    ];
    let count = choices.below(6).saturating_sub(2);
    if count == 0 {
        return Clients::All;
    }
    let ranges = (0..count).map(|_| choices.of(&RANGES, RANGES[0]));
    Clients::Within(ranges.map(|(address, length)| ipnet::Ipv4Net::new_assert(address, length).into()).collect())
}

fn kind(choices: &mut Choices<'_>, index: usize) -> ServiceKind {
    match choices.below(16) {
        15 => ServiceKind::Headless { families: vec![IpFamily::V4] },
        14 => ServiceKind::ExternalName { target: "db.example.com".into() },
        other => {
            let last = u8::try_from(10 + index).unwrap_or(u8::MAX);
            let mut external =
                |at: usize| if other % 4 >= at { vec![choices.of(&EXTERNAL, EXTERNAL[0]).into()] } else { vec![] };
            ServiceKind::Virtual {
                cluster_ips: vec![Ipv4Addr::new(10, 96, 0, last).into()],
                external_ips: external(2),
                load_balancer_ips: external(3),
            }
        }
    }
}

fn slice(choices: &mut Choices<'_>, service: &Service, number: usize) -> EndpointSlice {
    let ports = service.ports.iter().filter(|_| !choices.once_in(8)).collect::<Vec<_>>();
    let ports = ports.into_iter().map(|port| EndpointPort {
        name: port.name.clone(),
        protocol: port.protocol,
        port: NonZeroU16::MIN.saturating_add(choices.of(&TARGET_PORTS, TARGET_PORTS[0]) - 1),
    });
    let ports = ports.collect();
    let mut endpoints: BTreeMap<IpAddr, Endpoint> = BTreeMap::new();
    for _ in 0..choices.below(5) {
        let endpoint = endpoint(choices);
        endpoints.insert(endpoint.address, endpoint);
    }
    EndpointSlice {
        name: NamespacedName::new("shop", format!("{}-{number}", service.name.name)),
        service: service.name.clone(),
        family: IpFamily::V4,
        ports,
        endpoints: endpoints.into_values().collect(),
    }
}

fn endpoint(choices: &mut Choices<'_>) -> Endpoint {
    let address = choices.of(&ENDPOINTS, ENDPOINTS[0]);
    let (ready, serving, terminating) = choices.of(
        &[
            (true, true, false),
            (true, true, false),
            (false, false, false),
            (false, true, true),
            (false, false, true),
            (false, true, false),
        ],
        (true, true, false),
    );
    let node = node_of(address).filter(|_| !choices.once_in(8));
    Endpoint { address: address.into(), hostname: None, node, pod: None, ready, serving, terminating }
}

/// The node an address belongs to.
fn node_of(address: Ipv4Addr) -> Option<Name> {
    let on = |node: &&SampleNode| address == node.address || address.octets()[..3] == node.pods.octets()[..3];
    NODES.iter().find(on).map(|node| node.name.into())
}

/// Everything Services of the cluster claim.
fn frontends(cluster: &Cluster) -> Vec<(Protocol, IpAddr, u16)> {
    let mut frontends = Vec::new();
    for service in cluster.services.values() {
        let ServiceKind::Virtual { cluster_ips, external_ips, load_balancer_ips } = &service.kind else { continue };
        for port in &service.ports {
            let addresses = cluster_ips.iter().chain(external_ips).chain(load_balancer_ips);
            frontends.extend(addresses.map(|address| (port.protocol, *address, port.port.get())));
            let node_ports = port.node_port.iter();
            frontends.extend(node_ports.map(|number| (port.protocol, NODES[0].address.into(), number.get())));
        }
    }
    frontends
}
