//! One Service: its frontends and what is done with connections to them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use model::{
    Affinity, Clients, Cluster, Endpoint, IpFamily, Name, NamespacedName, Protocol, Rejected, Service, ServiceKind,
    ServicePort, TrafficPolicy,
};

use super::Treatments;
use super::network::{Network, outermost};

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

/// What is done with connections to a frontend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Treatment {
    /// The Service that asks for it.
    pub service: NamespacedName,
    /// The name of its port.
    pub port: Name,
    /// Where connections go.
    pub dispatch: Dispatch,
    /// Whose source is masqueraded.
    pub sources: SourceRule,
    /// Who may connect; ranges are of the frontend's family, none within another. Others are dropped.
    pub clients: Clients,
    /// How long a silent client is sent to the endpoint it had, when the Service asks for affinity.
    pub affinity: Option<Duration>,
    /// Endpoint addresses that may be on this node: a pod that reaches itself is masqueraded, or it would answer
    /// itself directly.
    pub hairpins: BTreeSet<IpAddr>,
}

impl Treatment {
    /// Why this treatment does not apply: `winner` has the frontend.
    pub(super) fn refused_because_of(&self, frontend: &Frontend, winner: &NamespacedName) -> Rejected {
        Rejected {
            object: format!("Service {}", self.service),
            field: format!("spec.ports[name={}]", self.port),
            why: format!("{frontend} belongs to Service {winner}, which comes first by name; use another"),
        }
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
        /// For pods and for this node itself; not empty.
        inside: Vec<SocketAddr>,
        /// For all others; dropped when empty.
        outside: Vec<SocketAddr>,
    },
}

/// Whose source is masqueraded when its connection is sent to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceRule {
    /// Nobody's: the endpoint sees the client.
    Keep,
    /// That of clients that are neither pod nor node: their answers would not come back this way.
    MasqueradeOutsiders,
    /// Everybody's.
    MasqueradeAll,
}

/// Who a frontend is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Audience {
    /// Clients inside the cluster.
    Internal,
    /// Clients outside the cluster.
    External,
    /// Those of them the Service names.
    LoadBalanced,
}

/// What a Service asks for, by frontend. Empty for one without addresses and for one another proxy serves.
pub(super) fn treatments(service: &Service, cluster: &Cluster, node: &Name, network: &Network) -> Treatments {
    let mut treatments = BTreeMap::new();
    if service.delegated {
        return treatments;
    }
    for port in &service.ports {
        let endpoints = [IpFamily::V4, IpFamily::V6].map(|family| Usable::of(service, port, family, cluster, node));
        for (frontend, audience) in frontends(service, port, &network.own_addresses) {
            let [v4, v6] = &endpoints;
            let usable = if frontend.address.is_ipv4() { v4 } else { v6 };
            treatments.entry(frontend).or_insert_with(|| {
                let clients = clients(service, &frontend, audience, network);
                Arc::new(Treatment { clients, ..treatment(service, port, audience, usable, network) })
            });
        }
    }
    treatments
}

fn frontends(service: &Service, port: &ServicePort, own_addresses: &[IpAddr]) -> Vec<(Frontend, Audience)> {
    let ServiceKind::Virtual { cluster_ips, external_ips, load_balancer_ips } = &service.kind else {
        return Vec::new();
    };
    let at = |address: &IpAddr, number: u16| Frontend { address: *address, protocol: port.protocol, port: number };
    let mut frontends = Vec::new();
    frontends.extend(cluster_ips.iter().map(|address| (at(address, port.port.get()), Audience::Internal)));
    // An address that is listed twice has the narrower meaning.
    frontends.extend(load_balancer_ips.iter().map(|address| (at(address, port.port.get()), Audience::LoadBalanced)));
    frontends.extend(external_ips.iter().map(|address| (at(address, port.port.get()), Audience::External)));
    if let Some(node_port) = port.node_port {
        frontends.extend(own_addresses.iter().map(|address| (at(address, node_port.get()), Audience::External)));
    }
    frontends
}

/// The endpoints of one Service port that may serve.
struct Usable {
    all: BTreeSet<SocketAddr>,
    /// Those on this node.
    local: BTreeSet<SocketAddr>,
}

impl Usable {
    /// The ready endpoints or, when there is none, those that still serve while they terminate (KEP-1669); decided
    /// for the cluster and for this node each on its own.
    fn of(service: &Service, port: &ServicePort, family: IpFamily, cluster: &Cluster, node: &Name) -> Self {
        let endpoints = endpoints(service, port, family, cluster);
        let is_local = |endpoint: &Endpoint| endpoint.node.as_ref() == Some(node);
        let here: Vec<_> = endpoints.iter().copied().filter(|(_, endpoint)| is_local(endpoint)).collect();
        Self { all: fittest(service, &endpoints), local: fittest(service, &here) }
    }
}

/// The endpoints of a Service port with the sockets they serve it at.
fn endpoints<'a>(
    service: &Service,
    port: &ServicePort,
    family: IpFamily,
    cluster: &'a Cluster,
) -> Vec<(SocketAddr, &'a Endpoint)> {
    let mut endpoints = Vec::new();
    for slice in cluster.slices_of(&service.name).filter(|slice| slice.family == family) {
        let matching = slice.ports.iter().filter(|other| other.name == port.name && other.protocol == port.protocol);
        for target in matching {
            let sockets = slice.endpoints.iter();
            endpoints.extend(sockets.map(|each| (SocketAddr::new(each.address, target.port.get()), each)));
        }
    }
    endpoints
}

fn fittest(service: &Service, endpoints: &[(SocketAddr, &Endpoint)]) -> BTreeSet<SocketAddr> {
    let sockets = |fit: fn(&Service, &Endpoint) -> bool| {
        let fitting = endpoints.iter().filter(|(_, endpoint)| fit(service, endpoint));
        fitting.map(|(socket, _)| *socket).collect::<BTreeSet<_>>()
    };
    let ready = sockets(|service, endpoint| endpoint.ready || service.publish_not_ready);
    if ready.is_empty() { sockets(|_, endpoint| endpoint.serving && endpoint.terminating) } else { ready }
}

/// The Service's source ranges of the frontend's family, for its load balancer addresses.
///
/// When this node is in one of them, so are the load balancer's addresses: where one is an address of the node too, a
/// connection of the node to it has it as its source.
fn clients(service: &Service, frontend: &Frontend, audience: Audience, network: &Network) -> Clients {
    let (Clients::Within(ranges), Audience::LoadBalanced) = (&service.clients, audience) else { return Clients::All };
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
    service: &Service,
    port: &ServicePort,
    audience: Audience,
    usable: &Usable,
    network: &Network,
) -> Treatment {
    let policy = match audience {
        Audience::Internal => service.internal_policy,
        Audience::External | Audience::LoadBalanced => service.external_policy,
    };
    let sources = match (audience, policy) {
        (Audience::Internal, _) => SourceRule::MasqueradeOutsiders,
        (_, TrafficPolicy::Cluster) => SourceRule::MasqueradeAll,
        (_, TrafficPolicy::Local) => SourceRule::Keep,
    };
    let addresses = usable.all.union(&usable.local).map(SocketAddr::ip);
    Treatment {
        service: service.name.clone(),
        port: port.name.clone(),
        dispatch: dispatch(audience, policy, usable),
        sources,
        clients: Clients::All,
        affinity: match service.affinity {
            Affinity::None => None,
            Affinity::ClientIp { timeout } => Some(timeout),
        },
        hairpins: addresses.filter(|address| network.may_be_here(*address)).collect(),
    }
}

fn dispatch(audience: Audience, policy: TrafficPolicy, usable: &Usable) -> Dispatch {
    let list = |sockets: &BTreeSet<SocketAddr>| sockets.iter().copied().collect::<Vec<_>>();
    match (policy, audience) {
        _ if usable.all.is_empty() => Dispatch::Refuse,
        (TrafficPolicy::Cluster, _) => Dispatch::Balance(list(&usable.all)),
        (TrafficPolicy::Local, Audience::Internal) if usable.local.is_empty() => Dispatch::Drop,
        (TrafficPolicy::Local, Audience::Internal) => Dispatch::Balance(list(&usable.local)),
        (TrafficPolicy::Local, _) if usable.local == usable.all => Dispatch::Balance(list(&usable.all)),
        (TrafficPolicy::Local, _) => Dispatch::Split { inside: list(&usable.all), outside: list(&usable.local) },
    }
}
