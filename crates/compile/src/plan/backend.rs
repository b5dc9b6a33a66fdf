//! What becomes of each endpoint of a Service on a node, for people who ask why one gets no connections.

use std::fmt;
use std::net::SocketAddr;

use model::{Cluster, Endpoint, IpFamily, Name, NamespacedName, Service, ServicePort};

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
}

impl BackendState {
    /// Whether it gets connections.
    pub const fn serves(self) -> bool {
        matches!(self, Self::Serves | Self::ServesLast)
    }
}

impl fmt::Display for BackendState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Serves => "serves",
            Self::ServesLast => "serves, though it terminates: no endpoint is ready",
            Self::NotReady => "left out: it is not ready",
            Self::Terminating => "left out: it terminates, and others are ready",
            Self::Stopped => "left out: it terminates and serves no more",
            Self::ForOtherNodes => "left out: it is meant for other nodes (hints.forNodes)",
            Self::ForOtherZones => "left out: it is meant for other zones (hints.forZones)",
        })
    }
}

/// The endpoints of a Service as a node sees them, port by port in the Service's order, then by socket.
pub fn backends(view: &NodeView, cluster: &Cluster, service: &Service) -> Vec<Backend> {
    let zone = cluster.nodes.get(&view.name).and_then(|node| node.zone());
    let place = Place { node: &view.name, zone };
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
    let backend = |(socket, endpoint): (SocketAddr, &Endpoint)| Backend {
        port: port.name.clone(),
        socket,
        node: endpoint.node.clone(),
        pod: endpoint.pod.clone(),
        state: state(endpoint, usable.all.contains(&socket), service.publish_not_ready, place),
        serves_locally: usable.local.contains(&socket),
    };
    let mut backends: Vec<Backend> = endpoints(service, port, family, cluster).into_iter().map(backend).collect();
    backends.sort_by_key(|backend| (backend.socket, !backend.state.serves()));
    backends.dedup_by_key(|backend| backend.socket);
    backends
}

fn state(endpoint: &Endpoint, serves: bool, publish_not_ready: bool, place: Place<'_>) -> BackendState {
    match (serves, endpoint.ready || publish_not_ready) {
        (true, true) => BackendState::Serves,
        (true, false) => BackendState::ServesLast,
        (false, true) if !endpoint.for_nodes.is_empty() && !endpoint.for_nodes.contains(place.node) => {
            BackendState::ForOtherNodes
        }
        (false, true) => BackendState::ForOtherZones,
        (false, false) if endpoint.terminating && endpoint.serving => BackendState::Terminating,
        (false, false) if endpoint.terminating => BackendState::Stopped,
        (false, false) => BackendState::NotReady,
    }
}
