//! The endpoints of one Service port that may serve, as this node sees them.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use model::{Cluster, Endpoint, IpFamily, Name, Service, ServicePort};

/// A node, as far as endpoints can be near to it.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) node: &'a Name,
    /// Its zone, when it is in one.
    pub(super) zone: Option<&'a Name>,
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
        let is_ready = |endpoint: &Endpoint| endpoint.ready || service.publish_not_ready;
        let here = |endpoint: &Endpoint| endpoint.node.as_ref() == Some(place.node);
        let ready: Vec<_> = endpoints.iter().copied().filter(|(_, endpoint)| is_ready(endpoint)).collect();
        let nearness = Nearness::of(&ready, place);
        let fittest = |may: &dyn Fn(&Endpoint) -> bool, may_terminating: &dyn Fn(&Endpoint) -> bool| {
            let fit: BTreeSet<_> =
                ready.iter().filter(|(_, endpoint)| may(endpoint)).map(|(socket, _)| *socket).collect();
            if fit.is_empty() {
                let serving = |endpoint: &Endpoint| endpoint.serving && endpoint.terminating;
                let last = endpoints.iter().filter(|(_, endpoint)| serving(endpoint) && may_terminating(endpoint));
                last.map(|(socket, _)| *socket).collect()
            } else {
                fit
            }
        };
        Self { all: fittest(&|endpoint| nearness.admits(endpoint), &|_| true), local: fittest(&here, &here) }
    }
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

/// Which of the ready endpoints their hints leave to a node.
///
/// Only hints decide: the controller that writes EndpointSlices gives them by what the Service prefers. They count
/// when every ready endpoint has some and one is for this node, those for nodes before those for zones.
enum Nearness<'a> {
    Anywhere,
    SameZone(&'a Name),
    SameNode(&'a Name),
}

impl<'a> Nearness<'a> {
    fn of(ready: &[(SocketAddr, &Endpoint)], place: Place<'a>) -> Self {
        let count = |hints: fn(&Endpoint) -> &[Name], name: &Name| {
            ready.iter().all(|(_, endpoint)| !hints(endpoint).is_empty())
                && ready.iter().any(|(_, endpoint)| hints(endpoint).contains(name))
        };
        match place.zone {
            _ if count(|endpoint| &endpoint.for_nodes, place.node) => Self::SameNode(place.node),
            Some(zone) if count(|endpoint| &endpoint.for_zones, zone) => Self::SameZone(zone),
            _ => Self::Anywhere,
        }
    }

    fn admits(&self, endpoint: &Endpoint) -> bool {
        match self {
            Self::Anywhere => true,
            Self::SameZone(zone) => endpoint.for_zones.contains(zone),
            Self::SameNode(node) => endpoint.for_nodes.contains(node),
        }
    }
}
