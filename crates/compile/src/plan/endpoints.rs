//! The endpoints of one Service port that may serve, as this node sees them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use model::{Cluster, Endpoint, EndpointSlice, Fitness, IpFamily, Name, NamespacedName, Service, ServicePort};

use super::NodeView;
use super::hints::Hints;
use crate::ruleset::several;

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
    in_slices(service, port, family, cluster).map(|(socket, endpoint, _)| (socket, endpoint)).collect()
}

/// The endpoints of a Service port with the sockets they serve it at and the slices they are in.
fn in_slices<'a>(
    service: &Service,
    port: &ServicePort,
    family: IpFamily,
    cluster: &'a Cluster,
) -> impl Iterator<Item = (SocketAddr, &'a Endpoint, &'a EndpointSlice)> {
    cluster.served_slices_of(&service.name, family).flat_map(move |slice| {
        let matching = slice.ports.iter().filter(|other| other.name == port.name && other.protocol == port.protocol);
        matching.flat_map(move |target| {
            let sockets = slice.endpoints.iter();
            sockets.map(move |each| (SocketAddr::new(each.address, target.port.get()), each, &**slice))
        })
    })
}

/// What stands behind the endpoints of a Service port, for people: a pod, or the slice that tells of an endpoint without.
pub(super) struct Behind<'a> {
    namespace: &'a Name,
    objects: BTreeMap<SocketAddr, BTreeSet<Object<'a>>>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Object<'a> {
    Pod(&'a NamespacedName),
    Slice(&'a NamespacedName),
}

impl Object<'_> {
    fn name(self) -> Name {
        match self {
            Self::Pod(pod) => pod.to_string().into(),
            Self::Slice(slice) => format!("slice {slice}").into(),
        }
    }

    /// Its name as far as it is not said already by the namespace it is told of in.
    fn name_in(self, namespace: &Name) -> Name {
        match self {
            Self::Pod(pod) if pod.namespace == *namespace => pod.name.clone(),
            Self::Slice(slice) if slice.namespace == *namespace => format!("slice {}", slice.name).into(),
            Self::Pod(_) | Self::Slice(_) => self.name(),
        }
    }
}

impl<'a> Behind<'a> {
    pub(super) fn of(service: &'a Service, port: &ServicePort, family: IpFamily, cluster: &'a Cluster) -> Self {
        let mut objects: BTreeMap<SocketAddr, BTreeSet<Object<'_>>> = BTreeMap::new();
        for (socket, endpoint, slice) in in_slices(service, port, family, cluster) {
            let object = endpoint.pod.as_ref().map_or(Object::Slice(&slice.name), Object::Pod);
            objects.entry(socket).or_default().insert(object);
        }
        Self { namespace: &service.name.namespace, objects }
    }

    /// What stands behind an endpoint, as one says it beside the Service's name; itself when it is in none of the slices.
    pub(super) fn endpoint(&self, socket: &SocketAddr) -> Name {
        let objects = self.objects.get(socket).into_iter().flatten();
        let names: Vec<Name> = objects.map(|object| object.name_in(self.namespace)).collect();
        several(&names).unwrap_or_else(|| socket.to_string().into())
    }

    /// What stands behind the endpoints with an address; itself when none has it.
    pub(super) fn address(&self, address: IpAddr) -> Name {
        let sockets = self.objects.range(SocketAddr::new(address, 0)..=SocketAddr::new(address, u16::MAX));
        let names: Vec<Name> = sockets.flat_map(|(_, objects)| objects).map(|object| object.name()).collect();
        several(&names).unwrap_or_else(|| address.to_string().into())
    }
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
