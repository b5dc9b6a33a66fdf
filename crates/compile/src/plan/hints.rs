//! Which endpoints their hints leave to a node.

use std::fmt;
use std::net::SocketAddr;

use model::{Cluster, Endpoint, IpFamily, Name, Service};

use super::NodeView;
use super::endpoints::{Place, endpoints, ready};

/// What the hints of a port's ready endpoints come to on a node under the policy Cluster.
///
/// Only hints decide: the controller that writes EndpointSlices gives them by what the Service prefers. They count
/// when every ready endpoint has some and one is for this node, those for nodes before those for zones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hints {
    /// No ready endpoint has any.
    Absent,
    /// Connections go to endpoints that are for this node.
    ForNode,
    /// Connections go to endpoints that are for this node's zone.
    ForZone(Name),
    /// They have no effect: this endpoint has none.
    MissingOn(SocketAddr),
    /// They have no effect: none is for this node, nor for its zone, if it is in one.
    Elsewhere(Option<Name>),
}

/// Hints of one kind.
type Kind = fn(&Endpoint) -> &[Name];

impl Hints {
    pub(super) fn of(ready: &[(SocketAddr, &Endpoint)], place: Place<'_>) -> Self {
        let (nodes, zones): (Kind, Kind) = (|endpoint| &endpoint.for_nodes, |endpoint| &endpoint.for_zones);
        let missing =
            |hints: Kind| ready.iter().find(|(_, endpoint)| hints(endpoint).is_empty()).map(|(socket, _)| *socket);
        let is_for = |hints: Kind, name: &Name| ready.iter().any(|(_, endpoint)| hints(endpoint).contains(name));
        if ready.iter().all(|(_, endpoint)| nodes(endpoint).is_empty() && zones(endpoint).is_empty()) {
            return Self::Absent;
        }
        match (missing(nodes), missing(zones), place.zone) {
            (None, ..) if is_for(nodes, place.node) => Self::ForNode,
            (_, None, Some(zone)) if is_for(zones, zone) => Self::ForZone(zone.clone()),
            (Some(node), Some(zone), _) => {
                let has_zones = ready.iter().any(|(_, endpoint)| !zones(endpoint).is_empty());
                Self::MissingOn(if has_zones { zone } else { node })
            }
            _ => Self::Elsewhere(place.zone.cloned()),
        }
    }

    /// Whether connections from `place` may go to an endpoint, as far as hints are concerned.
    pub(super) fn admit(&self, endpoint: &Endpoint, place: Place<'_>) -> bool {
        match self {
            Self::Absent | Self::MissingOn(_) | Self::Elsewhere(_) => true,
            Self::ForNode => endpoint.for_nodes.contains(place.node),
            Self::ForZone(zone) => endpoint.for_zones.contains(zone),
        }
    }
}

impl fmt::Display for Hints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("no ready endpoint has hints"),
            Self::ForNode => f.write_str("in effect, to endpoints for this node (hints.forNodes)"),
            Self::ForZone(zone) => write!(f, "in effect, to endpoints for zone {zone} (hints.forZones)"),
            Self::MissingOn(socket) => {
                write!(f, "without effect, {socket} has none and every ready endpoint needs one")
            }
            Self::Elsewhere(Some(zone)) => write!(f, "without effect, none is for this node or its zone {zone}"),
            Self::Elsewhere(None) => f.write_str(
                "without effect, none is for this node, which is in no zone (label topology.kubernetes.io/zone)",
            ),
        }
    }
}

/// What hints come to on a node, for each port and family of a Service that has ready endpoints, in the Service's order.
pub fn hints(view: &NodeView, cluster: &Cluster, service: &Service) -> Vec<(Name, IpFamily, Hints)> {
    let place = Place::of(view, cluster);
    let families = service.kind.families();
    let of_port = service.ports.iter().flat_map(|port| families.iter().map(move |family| (port, *family)));
    let with_endpoints = of_port.filter_map(|(port, family)| {
        let ready = ready(service, &endpoints(service, port, family, cluster));
        (!ready.is_empty()).then(|| (port.name.clone(), family, Hints::of(&ready, place)))
    });
    with_endpoints.collect()
}
