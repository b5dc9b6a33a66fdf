//! Services and slices by choice.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;
use std::time::Duration;

use model::{
    Affinity, Clients, Endpoint, EndpointPort, EndpointSlice, IpFamily, NamespacedName, Protocol, Service, ServiceKind,
    ServicePort, TargetPort, TrafficPolicy,
};

use super::place::{ENDPOINTS, EXTERNAL, FAMILIES, NODES, TARGET_PORTS, address_of, node_of, range_of};
use super::{Choices, service_name};

pub(super) fn service(choices: &mut Choices<'_>, index: usize) -> Service {
    let policies = [TrafficPolicy::Cluster, TrafficPolicy::Cluster, TrafficPolicy::Local];
    let ports = [
        ("http", Protocol::Tcp, 80, 30_080),
        ("dns", Protocol::Udp, 53, 30_053),
        ("quic", Protocol::Udp, 80, 30_080),
        ("alt", Protocol::Tcp, 81, 0),
        ("sigtran", Protocol::Sctp, 80, 30_080),
    ];
    let ports = ports.into_iter().take(1 + choices.below(5)).map(|(name, protocol, port, node_port)| ServicePort {
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
        health_check_port: NonZeroU16::new(31_000 + index as u16).filter(|_| choices.once_in(2)),
        load_balancer: None,
        was_given: false,
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
    let ranges = (0..count).map(|_| {
        let (places, prefix) = choices.of(&RANGES, RANGES[0]);
        range_of(choices.of(&FAMILIES, IpFamily::V4), places, prefix)
    });
    Clients::Within(ranges.collect())
}

fn kind(choices: &mut Choices<'_>, index: usize) -> ServiceKind {
    match choices.below(16) {
        15 => ServiceKind::Headless { families: vec![IpFamily::V4] },
        14 => ServiceKind::ExternalName { target: "db.example.com".into() },
        other => {
            let last = u8::try_from(10 + index).unwrap_or(u8::MAX);
            let families = families(choices);
            // Also what is another's: the node's address, and the cluster IP of a Service.
            let claimed = [EXTERNAL[0], EXTERNAL[1], EXTERNAL[0], NODES[0].address, Ipv4Addr::new(10, 96, 0, 11)];
            let mut external = |at: usize| {
                let place = choices.of(&claimed, EXTERNAL[0]);
                // Also of families the Service does not have.
                let listed = FAMILIES.map(|family| address_of(family, place)).into_iter();
                listed.filter(|_| other % 4 >= at).take(1 + choices.below(2)).collect()
            };
            let (external_ips, load_balancer_ips) = (external(2), external(3));
            let place = Ipv4Addr::new(10, 96, 0, last);
            let cluster_ips = families.into_iter().map(|family| address_of(family, place)).collect();
            ServiceKind::Virtual { cluster_ips, external_ips, load_balancer_ips }
        }
    }
}

/// One family or both, in either order.
fn families(choices: &mut Choices<'_>) -> Vec<IpFamily> {
    let mut families = FAMILIES.to_vec();
    if choices.once_in(2) {
        families.reverse();
    }
    families.truncate(1 + choices.below(2));
    families
}

pub(super) fn slice(choices: &mut Choices<'_>, service: &Service, number: usize) -> EndpointSlice {
    let ports = service.ports.iter().filter(|_| !choices.once_in(8)).collect::<Vec<_>>();
    let ports = ports.into_iter().map(|port| EndpointPort {
        name: port.name.clone(),
        protocol: port.protocol,
        port: NonZeroU16::MIN.saturating_add(choices.of(&TARGET_PORTS, TARGET_PORTS[0]) - 1),
    });
    let ports = ports.collect();
    // Mostly one the Service has.
    let mut families = [families_of(service), FAMILIES.to_vec()].concat();
    families.extend(families_of(service));
    let family = choices.of(&families, IpFamily::V4);
    let mut endpoints: BTreeMap<IpAddr, Endpoint> = BTreeMap::new();
    let hints = choices.of(&[Hints::None, Hints::None, Hints::Zones, Hints::Nodes, Hints::Some], Hints::None);
    for _ in 0..choices.below(5) {
        let mut endpoint = endpoint(choices, family);
        hints.give(choices, &mut endpoint);
        endpoints.insert(endpoint.address, endpoint);
    }
    EndpointSlice {
        name: NamespacedName::new("shop", format!("{}-{number}", service.name.name)),
        service: service.name.clone(),
        family,
        delegated: choices.once_in(16),
        triggered: None,
        ports,
        endpoints: endpoints.into_values().collect(),
    }
}

fn families_of(service: &Service) -> Vec<IpFamily> {
    match &service.kind {
        ServiceKind::Virtual { cluster_ips, .. } => cluster_ips.iter().copied().map(IpFamily::of).collect(),
        ServiceKind::Headless { families } => families.clone(),
        ServiceKind::ExternalName { .. } => Vec::new(),
    }
}

/// Which hints the endpoints of a slice have.
#[derive(Clone, Copy)]
enum Hints {
    None,
    /// All of them, for one of two zones.
    Zones,
    /// All of them, for one of two nodes and for a zone.
    Nodes,
    /// Some of them.
    Some,
}

impl Hints {
    fn give(self, choices: &mut Choices<'_>, endpoint: &mut Endpoint) {
        let node = NODES.get(choices.below(NODES.len())).unwrap_or(&NODES[0]);
        let has = match self {
            Self::None => false,
            Self::Zones | Self::Nodes => true,
            Self::Some => choices.once_in(2),
        };
        if has {
            endpoint.for_zones.push(node.zone.into());
        }
        if has && !matches!(self, Self::Zones) {
            endpoint.for_nodes.push(node.name.into());
        }
    }
}

fn endpoint(choices: &mut Choices<'_>, family: IpFamily) -> Endpoint {
    let place = choices.of(&ENDPOINTS, ENDPOINTS[0]);
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
    let node = node_of(place).filter(|_| !choices.once_in(8));
    Endpoint { node, ready, serving, terminating, ..Endpoint::new(address_of(family, place)) }
}
