//! One Service: its frontends and what is done with connections to them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use model::{
    Affinity, Clients, Cluster, IpFamily, Name, NamespacedName, Protocol, Rejected, RejectedReason, Service,
    ServiceKind, ServicePort, Subject, TrafficPolicy,
};

use super::Treatments;
use super::endpoints::{Behind, Place, Usable};
use super::network::Network;
use crate::FrontendKind;
use crate::ranges::outermost;

/// Where clients send connections for a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frontend {
    /// A cluster, external or load balancer address, or an address of this node.
    pub address: IpAddr,
    /// The transport protocol.
    pub protocol: Protocol,
    /// The Service's port, or its node port at an address of this node.
    pub port: u16,
}

impl fmt::Display for Frontend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.protocol, SocketAddr::new(self.address, self.port))
    }
}

/// A port that is served at this node's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodePort {
    /// The transport protocol.
    pub protocol: Protocol,
    /// Its number.
    pub port: NonZeroU16,
}

/// What is done with connections to a frontend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Treatment {
    /// The Service that asks for it.
    pub service: NamespacedName,
    /// The name of its port.
    pub port: Name,
    /// Which of the Service's addresses it is.
    pub kind: FrontendKind,
    /// Where connections go.
    pub dispatch: Dispatch,
    /// Whose source is masqueraded.
    pub sources: SourceRule,
    /// Who may connect; ranges are of the frontend's family, none within another. Others are dropped.
    pub clients: Clients,
    /// How long a silent client is sent to the endpoint it had, when the Service asks for affinity.
    pub affinity: Option<Duration>,
    /// Endpoint addresses that may be on this node: a pod that reaches itself is masqueraded, or it would answer
    /// itself directly. Each with what stands behind it.
    pub hairpins: BTreeMap<IpAddr, Name>,
    /// What stands behind each endpoint there is to choose from, in the order of `Dispatch::choices`: the name of a pod
    /// of the Service's namespace, or whatever else in words.
    pub behind: Arc<[Name]>,
}

impl Treatment {
    /// Why this treatment does not apply: `holder` has the frontend.
    pub(super) fn refused_because_of(&self, frontend: &Frontend, holder: &Self) -> Rejected {
        let Self { service, kind, .. } = holder;
        let why = if *kind == self.kind {
            format!("{frontend} belongs to Service {service}, which comes first by name; use another")
        } else {
            format!("{frontend} is a {kind} of Service {service}, which goes before {}; use another", an(self.kind))
        };
        Rejected {
            object: Subject::service(&self.service),
            field: format!("spec.ports[name={}]", self.port),
            why,
            reason: RejectedReason::Refused,
        }
    }
}

fn an(kind: FrontendKind) -> String {
    let article = if kind == FrontendKind::ExternalIp { "an" } else { "a" };
    format!("{article} {kind}")
}

/// How firm a right to a frontend is, the firmest first. Cluster IPs and node ports are given by the API server, no two
/// alike; load balancer addresses by controllers; external addresses are whatever a Service's author wrote.
pub(super) const fn precedence(kind: FrontendKind) -> u8 {
    match kind {
        FrontendKind::ClusterIp => 0,
        FrontendKind::NodePort => 1,
        FrontendKind::LoadBalancerIp => 2,
        FrontendKind::ExternalIp => 3,
    }
}

/// Where connections to a frontend go. Lists are sorted and hold no endpoint twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dispatch {
    /// Refused: there is no endpoint anywhere.
    Refuse,
    /// Dropped: the policy wants an endpoint on this node and there is none.
    Drop,
    /// To one of these, at random.
    Balance(Vec<SocketAddr>),
    /// By where the client is.
    Split {
        /// For this node and its pods; not empty.
        inside: Vec<SocketAddr>,
        /// For all others, pods of other nodes included; dropped when empty.
        outside: Vec<SocketAddr>,
    },
}

impl Dispatch {
    /// The endpoints there are to choose from, and those there are for clients elsewhere where they differ; empty where
    /// there are none.
    pub(super) fn choices(&self) -> [&[SocketAddr]; 2] {
        match self {
            Self::Refuse | Self::Drop => [&[], &[]],
            Self::Balance(endpoints) => [endpoints, &[]],
            Self::Split { inside, outside } => [inside, outside],
        }
    }
}

/// Whose source is masqueraded when its connection is sent to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceRule {
    /// That of clients of this node whose answers may not come back by it; for all others the endpoint sees the client.
    MasqueradeBypassing,
    /// That of clients that are neither pod nor node: their answers would not come back this way.
    MasqueradeOutsiders,
    /// Everybody's.
    MasqueradeAll,
}

/// What a Service asks for, by frontend. Empty for one without addresses and for one another proxy serves.
pub(super) fn treatments(service: &Service, cluster: &Cluster, node: &Name, network: &Network) -> Treatments {
    let mut treatments = Treatments::new();
    if service.delegated {
        return treatments;
    }
    let place = Place { node, zone: network.zone.as_ref() };
    for port in &service.ports {
        let endpoints = [IpFamily::V4, IpFamily::V6].map(|family| {
            let usable = Usable::of(service, port, family, cluster, place);
            (usable, Behind::of(service, port, family, cluster))
        });
        for (frontend, kind) in frontends(service, port, &network.node_port_addresses) {
            let [v4, v6] = &endpoints;
            let (usable, behind) = if frontend.address.is_ipv4() { v4 } else { v6 };
            let held = treatments.get(&frontend).map(|held| precedence(held.kind));
            if held.is_none_or(|held| precedence(kind) < held) {
                let clients = clients(service, &frontend, kind, network);
                let treatment = Treatment { clients, ..treatment((service, port, kind), usable, behind, network) };
                treatments.insert(frontend, Arc::new(treatment));
            }
        }
    }
    treatments
}

/// What a Service has for frontends, whoever serves it.
pub(super) fn frontends_of<'a>(service: &'a Service, network: &'a Network) -> impl Iterator<Item = Frontend> {
    let of_port = |port| frontends(service, port, &network.node_port_addresses);
    service.ports.iter().flat_map(of_port).map(|(frontend, _)| frontend)
}

/// What a Service port is reached at. It has addresses only of the families the Service has: what it lists beyond them
/// is nobody's.
fn frontends(service: &Service, port: &ServicePort, node_port_addresses: &[IpAddr]) -> Vec<(Frontend, FrontendKind)> {
    let ServiceKind::Virtual { cluster_ips, external_ips, load_balancer_ips } = &service.kind else {
        return Vec::new();
    };
    let families: Vec<IpFamily> = cluster_ips.iter().copied().map(IpFamily::of).collect();
    let mut frontends = Vec::new();
    let mut add = |addresses: &[IpAddr], number: NonZeroU16, kind: FrontendKind| {
        let of_family = addresses.iter().filter(|address| families.contains(&IpFamily::of(**address)));
        frontends.extend(
            of_family
                .map(|address| (Frontend { address: *address, protocol: port.protocol, port: number.get() }, kind)),
        );
    };
    add(cluster_ips, port.port, FrontendKind::ClusterIp);
    add(load_balancer_ips, port.port, FrontendKind::LoadBalancerIp);
    add(external_ips, port.port, FrontendKind::ExternalIp);
    if let Some(node_port) = port.node_port {
        add(node_port_addresses, node_port, FrontendKind::NodePort);
    }
    frontends
}

/// The Service's source ranges of the frontend's family, for its load balancer addresses.
///
/// When this node is in one of them, so are the load balancer's addresses: where one is an address of the node too, a
/// connection of the node to it has it as its source.
fn clients(service: &Service, frontend: &Frontend, kind: FrontendKind, network: &Network) -> Clients {
    let (Clients::Within(ranges), FrontendKind::LoadBalancerIp) = (&service.clients, kind) else { return Clients::All };
    let ServiceKind::Virtual { load_balancer_ips, .. } = &service.kind else { return Clients::All };
    let of_family = |address: IpAddr| address.is_ipv4() == frontend.address.is_ipv4();
    let mut ranges: Vec<IpNet> = ranges.iter().copied().filter(|range| of_family(range.addr())).collect();
    if network.own_addresses.iter().any(|own| ranges.iter().any(|range| range.contains(own))) {
        ranges.extend(
            load_balancer_ips.iter().filter(|address| of_family(**address)).map(|address| IpNet::from(*address)),
        );
    }
    Clients::Within(outermost(ranges))
}

fn treatment(
    (service, port, kind): (&Service, &ServicePort, FrontendKind),
    usable: &Usable,
    behind: &Behind<'_>,
    network: &Network,
) -> Treatment {
    let policy = if kind == FrontendKind::ClusterIp { service.internal_policy } else { service.external_policy };
    let sources = match (kind, policy) {
        (FrontendKind::ClusterIp, _) => SourceRule::MasqueradeOutsiders,
        (_, TrafficPolicy::Cluster) => SourceRule::MasqueradeAll,
        (_, TrafficPolicy::Local) => SourceRule::MasqueradeBypassing,
    };
    // Where another plugin gives addresses, only the endpoint itself tells where it is.
    let local = usable.local.iter().map(SocketAddr::ip);
    let here = usable.all.iter().map(SocketAddr::ip).filter(|address| network.may_be_here(*address));
    let hairpins = local.chain(here).map(|address| (address, behind.address(address))).collect();
    let dispatch = dispatch(kind, policy, usable);
    let endpoints = dispatch.choices().into_iter().flatten();
    let behind = endpoints.map(|endpoint| behind.endpoint(endpoint)).collect();
    Treatment {
        service: service.name.clone(),
        port: port.name.clone(),
        kind,
        dispatch,
        sources,
        clients: Clients::All,
        affinity: match service.affinity {
            Affinity::None => None,
            Affinity::ClientIp { timeout } => Some(timeout),
        },
        hairpins,
        behind,
    }
}

fn dispatch(kind: FrontendKind, policy: TrafficPolicy, usable: &Usable) -> Dispatch {
    let list = |sockets: &BTreeSet<SocketAddr>| sockets.iter().copied().collect::<Vec<_>>();
    match (policy, kind) {
        _ if usable.all.is_empty() => Dispatch::Refuse,
        (TrafficPolicy::Cluster, _) => Dispatch::Balance(list(&usable.all)),
        (TrafficPolicy::Local, FrontendKind::ClusterIp) if usable.local.is_empty() => Dispatch::Drop,
        (TrafficPolicy::Local, FrontendKind::ClusterIp) => Dispatch::Balance(list(&usable.local)),
        (TrafficPolicy::Local, _) if usable.local == usable.all => Dispatch::Balance(list(&usable.all)),
        (TrafficPolicy::Local, _) => Dispatch::Split { inside: list(&usable.all), outside: list(&usable.local) },
    }
}
