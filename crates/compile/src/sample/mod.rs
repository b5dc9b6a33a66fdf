//! Clusters and packets for tests and benchmarks: small random ones, for holding implementations of the same meaning
//! against each other, and large [plain](plain_cluster) ones.
//!
//! The random ones are made from a string of bytes: the same bytes make the same cluster on every machine, and a shorter
//! string makes a simpler one, so that a property test that fails can shrink its input. The addresses are always those
//! of [`NODES`], [`ENDPOINTS`] and the like, so that a test with real sockets can set them up beforehand.

mod object;
mod place;
mod plain;

pub use place::{
    CLIENTS, ENDPOINTS, EXTERNAL, FAMILIES, LINK_ADDRESS, NODES, SampleNode, TARGET_PORTS, address_of, place_of,
    range_of, twin,
};
pub use plain::{PLAIN_PORT, add_plain, plain_address, plain_cluster, plain_endpoints, plain_service, plain_slice};

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use model::{Cluster, IpFamily, NamespacedName, Protocol, ServiceKind};

use crate::packet::{Entry, Packet};
use object::{service, slice};
use place::sample_node;

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
    let unknown = FAMILIES.map(|family| (Protocol::Tcp, address_of(family, EXTERNAL[0]), 9));
    for family in FAMILIES {
        destinations.extend(ENDPOINTS.map(|place| (Protocol::Tcp, address_of(family, place), TARGET_PORTS[0])));
    }
    destinations.extend(unknown);
    let (protocol, destination, port) = choices.of(&destinations, unknown[0]);
    let entered = match source.octets() {
        octets if octets == NODES[0].address.octets() => Entry::Host,
        [10, 244, 1, _] => Entry::Pod,
        _ => Entry::Outside,
    };
    let source = address_of(IpFamily::of(destination), source);
    Packet { source, destination, protocol, port, entered }
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

/// Everything Services of the cluster claim, and a port of each cluster IP that none has.
fn frontends(cluster: &Cluster) -> Vec<(Protocol, IpAddr, u16)> {
    const CLOSED_PORT: u16 = 9;
    let mut frontends = Vec::new();
    for service in cluster.services.values() {
        let ServiceKind::Virtual { cluster_ips, external_ips, load_balancer_ips } = &service.kind else { continue };
        frontends.extend(cluster_ips.iter().map(|address| (Protocol::Tcp, *address, CLOSED_PORT)));
        for port in &service.ports {
            let addresses = cluster_ips.iter().chain(external_ips).chain(load_balancer_ips);
            frontends.extend(addresses.map(|address| (port.protocol, *address, port.port.get())));
            if let Some(number) = port.node_port {
                for place in [NODES[0].address, LINK_ADDRESS] {
                    let own = FAMILIES.map(|family| address_of(family, place));
                    frontends.extend(own.map(|address| (port.protocol, address, number.get())));
                }
            }
        }
    }
    frontends
}
