//! The endpoints of one Service port that may serve, as this node sees them.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use model::{Cluster, Endpoint, IpFamily, Name, Service, ServicePort};

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
        let here = |endpoint: &Endpoint| endpoint.node.as_ref() == Some(place.node);
        let ready = ready(service, &endpoints);
        let hints = Hints::of(&ready, place);
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
        Self { all: fittest(&|endpoint| hints.admit(endpoint, place), &|_| true), local: fittest(&here, &here) }
    }
}

/// Those that may serve new connections.
pub(super) fn ready<'a>(
    service: &Service,
    endpoints: &[(SocketAddr, &'a Endpoint)],
) -> Vec<(SocketAddr, &'a Endpoint)> {
    let is_ready = |endpoint: &Endpoint| endpoint.ready || service.publish_not_ready;
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
