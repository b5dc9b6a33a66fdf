//! Clusters without chance: any number of Services that are all alike.

use std::net::Ipv4Addr;
use std::num::NonZeroU16;
use std::sync::Arc;

use model::{
    Cluster, Endpoint, EndpointPort, EndpointSlice, IpFamily, NamespacedName, Protocol, Service, ServiceKind,
    ServicePort, TargetPort,
};

use super::place::{NODES, TARGET_PORTS, node_of, sample_node};

/// The port plain Services are reached at.
pub const PLAIN_PORT: u16 = 80;

/// The cluster address of the plain Service `index`, in 10.96.0.0/12.
pub const fn plain_address(index: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 96, 1, 0).to_bits() + index)
}

/// A Service with one TCP port and nothing special.
pub fn plain_service(index: u32) -> Service {
    let port = |number: u16| NonZeroU16::MIN.saturating_add(number - 1);
    let name = NamespacedName::new("shop", format!("plain{index:06}"));
    let cluster_ips = vec![plain_address(index).into()];
    let kind = ServiceKind::Virtual { cluster_ips, external_ips: Vec::new(), load_balancer_ips: Vec::new() };
    Service {
        ports: vec![ServicePort {
            name: "http".into(),
            protocol: Protocol::Tcp,
            port: port(PLAIN_PORT),
            target: TargetPort::Number(port(TARGET_PORTS[0])),
            node_port: None,
        }],
        ..Service::new(name, kind)
    }
}

/// The one slice of a plain Service: ready endpoints at these addresses, a pod behind each, with a name as long as those of
/// a Deployment's.
pub fn plain_slice(service: &Service, addresses: impl IntoIterator<Item = Ipv4Addr>) -> EndpointSlice {
    let NamespacedName { namespace, name } = &service.name;
    let endpoint = |address: Ipv4Addr| {
        let pod = NamespacedName::new(namespace.clone(), format!("{name}-{:08x}", address.to_bits()));
        Endpoint { node: node_of(address), pod: Some(pod), ..Endpoint::new(address.into()) }
    };
    EndpointSlice {
        name: service.name.clone(),
        service: service.name.clone(),
        family: IpFamily::V4,
        delegated: false,
        triggered: None,
        ports: vec![EndpointPort {
            name: "http".into(),
            protocol: Protocol::Tcp,
            port: NonZeroU16::MIN.saturating_add(TARGET_PORTS[0] - 1),
        }],
        endpoints: addresses.into_iter().map(endpoint).collect(),
    }
}

/// The addresses of `count` endpoints of the plain Service `index`; no two Services share one, and none is on a node
/// of [`NODES`].
pub fn plain_endpoints(index: u32, count: u32) -> impl Iterator<Item = Ipv4Addr> {
    let first = Ipv4Addr::new(10, 128, 0, 0).to_bits() + index * count;
    (first..first + count).map(Ipv4Addr::from_bits)
}

/// Adds the plain Service `index` with `endpoints` endpoints.
pub fn add_plain(cluster: &mut Cluster, index: u32, endpoints: u32) {
    let service = plain_service(index);
    cluster.insert_slice(plain_slice(&service, plain_endpoints(index, endpoints)));
    cluster.services.insert(service.name.clone(), Arc::new(service));
}

/// The two nodes and `services` plain Services of `endpoints` endpoints each.
pub fn plain_cluster(services: u32, endpoints: u32) -> Cluster {
    let mut cluster = Cluster::default();
    for node in &NODES {
        cluster.nodes.insert(node.name.into(), Arc::new(sample_node(node)));
    }
    (0..services).for_each(|index| add_plain(&mut cluster, index, endpoints));
    cluster
}
