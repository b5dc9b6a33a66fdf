//! The endpoints of one Service port that may serve, as this node sees them.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use model::{Cluster, Endpoint, Fitness, IpFamily, Name, Service, ServicePort};

use super::NodeView;
use super::hints::Hints;

/// A node, as far as endpoints can be near to it.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) node: &'a Name,
    /// Its zone, when it is in one.
    pub(super) zone: Option<&'a Name>,
}

impl<'a> Place<'a> {
    /// Where the node of a view is.
    pub(super) fn of(view: &'a NodeView, cluster: &'a Cluster) -> Self {
        Self { node: &view.name, zone: cluster.nodes.get(&view.name).and_then(|node| node.zone()) }
    }
}

/// The endpoints of one Service port that may serve.
pub(super) struct Usable {
    /// Under the policy Cluster; empty only when there is none in the whole cluster.
    pub(super) all: BTreeSet<SocketAddr>,
    /// Under the policy Local: those on this node, whatever their hints say.
    pub(super) local: BTreeSet<SocketAddr>,
}

impl Usable {
    /// The ready endpoints or, when there is none, those that still serve while they terminate (KEP-1669); decided
    /// for the cluster and for this node each on its own.
    pub(super) fn of(
        service: &Service,
        port: &ServicePort,
        family: IpFamily,
        cluster: &Cluster,
        place: Place<'_>,
    ) -> Self {
        let endpoints = endpoints(service, port, family, cluster);
        let hints = Hints::of(&ready(service, &endpoints), place);
        let here = |endpoint: &Endpoint| endpoint.node.as_ref() == Some(place.node);
        let all = service.fittest(endpoints.iter().copied()).into_iter();
        let local = service.fittest(endpoints.iter().copied().filter(|(_, endpoint)| here(endpoint))).into_iter();
        Self {
            // Where none is ready there are no hints either.
            all: all.filter(|(_, endpoint)| hints.admit(endpoint, place)).map(|(socket, _)| socket).collect(),
            local: local.map(|(socket, _)| socket).collect(),
        }
    }
}

/// Those that are ready.
pub(super) fn ready<'a>(
    service: &Service,
    endpoints: &[(SocketAddr, &'a Endpoint)],
) -> Vec<(SocketAddr, &'a Endpoint)> {
    let is_ready = |endpoint: &Endpoint| service.fitness_of(endpoint) == Fitness::Ready;
    endpoints.iter().copied().filter(|(_, endpoint)| is_ready(endpoint)).collect()
}

/// The endpoints of a Service port with the sockets they serve it at.
pub(super) fn endpoints<'a>(
    service: &Service,
    port: &ServicePort,
    family: IpFamily,
    cluster: &'a Cluster,
) -> Vec<(SocketAddr, &'a Endpoint)> {
    let mut endpoints = Vec::new();
    for slice in cluster.served_slices_of(&service.name, family) {
        let matching = slice.ports.iter().filter(|other| other.name == port.name && other.protocol == port.protocol);
        for target in matching {
            let sockets = slice.endpoints.iter();
            endpoints.extend(sockets.map(|each| (SocketAddr::new(each.address, target.port.get()), each)));
        }
    }
    endpoints
}

/// The endpoints of a Service that serve any of its ports, once for each.
pub fn endpoints_of_any_port<'a>(
    service: &Service,
    family: IpFamily,
    cluster: &'a Cluster,
) -> impl Iterator<Item = (SocketAddr, &'a Endpoint)> {
    service.ports.iter().flat_map(move |port| endpoints(service, port, family, cluster))
}

/// The nodes of the [fittest](Service::fittest) endpoints of a Service, whichever of its ports they serve.
pub fn serving_nodes<'a>(service: &Service, family: IpFamily, cluster: &'a Cluster) -> BTreeSet<&'a Name> {
    let fittest = service.fittest(endpoints_of_any_port(service, family, cluster)).into_iter();
    fittest.filter_map(|(_, endpoint)| endpoint.node.as_ref()).collect()
}
