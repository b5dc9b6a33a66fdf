//! What becomes of each endpoint of a Service on a node, for people who ask why one gets no connections.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use model::{
    Cluster, Endpoint, EndpointSlice, Fitness, IpFamily, Name, NamespacedName, Service, ServiceKind, ServicePort,
};

use super::NodeView;
use super::endpoints::{Place, Usable, endpoints};

/// An endpoint of one port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// The name of the Service's port; empty when unnamed.
    pub port: Name,
    /// Where it serves.
    pub socket: SocketAddr,
    /// The node it is on, when known.
    pub node: Option<Name>,
    /// The pod behind it, when there is one.
    pub pod: Option<NamespacedName>,
    /// Under the policy Cluster.
    pub state: BackendState,
    /// Whether connections under the policy Local may go to it.
    pub serves_locally: bool,
}

/// Whether an endpoint gets connections under the policy Cluster, and if not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendState {
    /// It does.
    Serves,
    /// Its address is what the name of a headless Service stands for; no proxy is between.
    Named,
    /// It does because none is ready, though it terminates.
    ServesLast,
    /// It is not ready.
    NotReady,
    /// It terminates, and others are ready.
    Terminating,
    /// It terminates and serves no more.
    Stopped,
    /// Its hints name other nodes.
    ForOtherNodes,
    /// Its hints name other zones.
    ForOtherZones,
    /// The Service has no address of its family.
    OtherFamily,
    /// The Service is left to another proxy, or to nobody.
    Delegated,
}

impl BackendState {
    /// Whether it gets connections.
    pub const fn serves(self) -> bool {
        matches!(self, Self::Serves | Self::ServesLast | Self::Named)
    }
}

impl fmt::Display for BackendState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Serves => "serves",
            Self::Named => "the Service's name stands for it",
            Self::ServesLast => "serves, though it terminates: no endpoint is ready",
            Self::NotReady => "left out: it is not ready",
            Self::Terminating => "left out: it terminates, and others are ready",
            Self::Stopped => "left out: it terminates and serves no more",
            Self::ForOtherNodes => "left out: it is meant for other nodes (hints.forNodes)",
            Self::ForOtherZones => "left out: it is meant for other zones (hints.forZones)",
            Self::OtherFamily => "left out: the Service has no address of its family (spec.ipFamilies)",
            Self::Delegated => "left to others, as the whole Service is",
        })
    }
}

/// The endpoints of a Service as a node sees them, port by port in the Service's order, then by socket.
pub fn backends(view: &NodeView, cluster: &Cluster, service: &Service) -> Vec<Backend> {
    let place = Place::of(view, cluster);
    let mut backends = Vec::new();
    for port in &service.ports {
        for family in [IpFamily::V4, IpFamily::V6] {
            backends.extend(backends_of_port(service, port, family, cluster, place));
        }
    }
    backends
}

fn backends_of_port(
    service: &Service,
    port: &ServicePort,
    family: IpFamily,
    cluster: &Cluster,
    place: Place<'_>,
) -> Vec<Backend> {
    let usable = Usable::of(service, port, family, cluster, place);
    let judge = |socket: &SocketAddr, endpoint: &Endpoint| match &service.kind {
        _ if service.delegated => BackendState::Delegated,
        kind if !kind.families().contains(&family) => BackendState::OtherFamily,
        ServiceKind::Headless { .. } => state_of_name(service, endpoint),
        _ => state(service, endpoint, usable.all.contains(socket), place),
    };
    let backend = |(socket, endpoint): (SocketAddr, &Endpoint)| {
        let state = judge(&socket, endpoint);
        Backend {
            port: port.name.clone(),
            socket,
            node: endpoint.node.clone(),
            pod: endpoint.pod.clone(),
            state,
            serves_locally: usable.local.contains(&socket)
                && !matches!(state, BackendState::Delegated | BackendState::OtherFamily),
        }
    };
    let mut backends: Vec<Backend> = endpoints(service, port, family, cluster).into_iter().map(backend).collect();
    backends.sort_by_key(|backend| (backend.socket, !backend.state.serves()));
    backends.dedup_by_key(|backend| backend.socket);
    backends
}

fn state(service: &Service, endpoint: &Endpoint, serves: bool, place: Place<'_>) -> BackendState {
    match (serves, service.fitness_of(endpoint)) {
        (true, Fitness::Ready) => BackendState::Serves,
        (true, _) => BackendState::ServesLast,
        (false, Fitness::Ready) if !endpoint.for_nodes.is_empty() && !endpoint.for_nodes.contains(place.node) => {
            BackendState::ForOtherNodes
        }
        (false, Fitness::Ready) => BackendState::ForOtherZones,
        (false, _) => state_of_unready(endpoint),
    }
}

/// Names stand for endpoints that are ready, whatever there is beside them.
fn state_of_name(service: &Service, endpoint: &Endpoint) -> BackendState {
    if service.fitness_of(endpoint) == Fitness::Ready { BackendState::Named } else { state_of_unready(endpoint) }
}

const fn state_of_unready(endpoint: &Endpoint) -> BackendState {
    match (endpoint.terminating, endpoint.serving) {
        (true, true) => BackendState::Terminating,
        (true, false) => BackendState::Stopped,
        (false, _) => BackendState::NotReady,
    }
}

/// An endpoint that gets no connections, whatever its condition, because of the slice it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// The port of the Service it cannot serve; none when it is about all of them.
    pub port: Option<Name>,
    /// Its address.
    pub address: IpAddr,
    /// The node it is on, when known.
    pub node: Option<Name>,
    /// The pod behind it, when there is one.
    pub pod: Option<NamespacedName>,
    /// The slice.
    pub slice: Name,
    /// What is the matter with the slice.
    pub why: SliceFault,
}

/// Why the endpoints of a slice serve nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SliceFault {
    /// It lacks the port: by name, and of the protocol.
    NoPort,
    /// A label leaves it to another proxy, or to nobody.
    Delegated,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.why {
            SliceFault::NoPort => write!(f, "left out: EndpointSlice {} does not have the port", self.slice),
            SliceFault::Delegated => write!(f, "left out: EndpointSlice {} is left to others by its label", self.slice),
        }
    }
}

/// The endpoints of a Service's slices that are not among its [`backends`], port by port, those for all ports last.
pub fn left_out(cluster: &Cluster, service: &Service) -> Vec<LeftOut> {
    let families = service.kind.families();
    let slices: Vec<&EndpointSlice> = cluster.slices_of(&service.name).map(|slice| &**slice).collect();
    let mut left_out = Vec::new();
    for port in &service.ports {
        let lacks = |slice: &EndpointSlice| {
            !slice.ports.iter().any(|other| other.name == port.name && other.protocol == port.protocol)
        };
        let (portless, others): (Vec<&EndpointSlice>, _) =
            slices.iter().copied().filter(|slice| !slice.delegated).partition(|slice| lacks(slice));
        let has_port: BTreeSet<IpAddr> = addresses(&others).collect();
        let of_family = portless.into_iter().filter(|slice| families.contains(&slice.family));
        let rows = of_family.flat_map(|slice| rows(slice, Some(&port.name), SliceFault::NoPort));
        left_out.extend(rows.filter(|row| !has_port.contains(&row.address)));
    }
    let delegated = slices.iter().filter(|slice| slice.delegated && !service.delegated);
    left_out.extend(delegated.flat_map(|slice| rows(slice, None, SliceFault::Delegated)));
    left_out
}

fn addresses<'a>(slices: &'a [&EndpointSlice]) -> impl Iterator<Item = IpAddr> + 'a {
    slices.iter().flat_map(|slice| &slice.endpoints).map(|endpoint| endpoint.address)
}

fn rows<'a>(slice: &'a EndpointSlice, port: Option<&'a Name>, why: SliceFault) -> impl Iterator<Item = LeftOut> + 'a {
    slice.endpoints.iter().map(move |endpoint| LeftOut {
        port: port.cloned(),
        address: endpoint.address,
        node: endpoint.node.clone(),
        pod: endpoint.pod.clone(),
        slice: slice.name.name.clone(),
        why,
    })
}
