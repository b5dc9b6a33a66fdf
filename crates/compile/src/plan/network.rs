//! The cluster's nodes and ranges as one node sees them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use model::{Cluster, IpFamily, Name, Node, Rejected, RejectedReason, Subject};

use super::labels::Labels;
use super::peer::{NoWay, PeerPath, Way};
use super::routing::{Reason, RoutingMode};
use super::{NodePortAddresses, NodeView, PodAddresses, Tunnel};
use crate::ranges::{Apart, outermost};

/// A route for pod addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    /// The pods.
    pub destination: IpNet,
    /// Where they are.
    pub hop: Hop,
}

/// Where a route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hop {
    /// To another node, at its address of the same family.
    Via(IpAddr),
    /// To another node through the [`Tunnel`], by one of its gateways.
    Tunnel(IpAddr),
    /// To this node itself, which refuses. It is for addresses of pods that are gone or never were: those that exist
    /// have narrower routes. Without it such packets would leave by the default route, and their senders hang.
    Refused,
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Via(address) => address.fmt(f),
            Self::Tunnel(gateway) => write!(f, "{gateway} in the tunnel"),
            Self::Refused => f.write_str("refused"),
        }
    }
}

/// What a node's plan takes from the Node objects and from its own settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Network {
    /// This node's addresses; empty until its Node object has some.
    pub(super) own_addresses: Vec<IpAddr>,
    /// These and the addresses its links have.
    pub(super) held: BTreeSet<IpAddr>,
    /// Those of them that serve node ports, sorted.
    pub(super) node_port_addresses: Vec<IpAddr>,
    /// The zone this node is in, when it is in one.
    pub(super) zone: Option<Name>,
    /// Where addresses of this node and of its pods may lie: its own pod ranges, or all while it has none.
    pub(super) here: Vec<IpNet>,
    /// Ranges of clients that are inside by the policy Local: this node and its pods, as far as their addresses tell;
    /// none inside another.
    pub(super) inside: Vec<IpNet>,
    /// Ranges of those among them whose answers may not come back by this node, see [`SetKind::Bypassing`](super::layout::SetKind).
    pub(super) bypassing: Vec<IpNet>,
    /// Ranges of pods, none inside another.
    pub(super) pods: Vec<IpNet>,
    /// Ranges of everything that is not outside the cluster: pods, nodes, Services; none inside another.
    pub(super) cluster: Vec<IpNet>,
    /// What these ranges and addresses are.
    pub(super) labels: Labels,
    /// The addresses of the cluster's other nodes.
    pub(super) other_nodes: Vec<IpAddr>,
    /// Routes by destination.
    pub(super) routes: Vec<Route>,
    /// What some of them lead through; none when none do.
    pub(super) tunnel: Option<Tunnel>,
    /// The ways to other nodes' pods, by node and range.
    pub(super) peers: Vec<PeerPath>,
}

impl Network {
    pub(super) fn of(view: &NodeView, cluster: &Cluster) -> Self {
        let own = cluster.nodes.get(&view.name);
        let own_addresses = own.map(|node| node.addresses.clone()).unwrap_or_default();
        let zone = own.and_then(|node| node.zone()).cloned();
        let own_ranges = own_addresses.iter().map(|address| IpNet::from(*address));
        let own_pods = own.map(|node| &node.pod_cidrs).filter(|ranges| !ranges.is_empty());
        let here = own_ranges.chain(own_pods.unwrap_or(&view.pod_ranges).iter().copied()).collect();
        let nodes = cluster.nodes.values();
        let pods = nodes.flat_map(|node| &node.pod_cidrs).chain(&view.pod_ranges).copied();
        let pods = outermost(pods.collect());
        let all = pods.iter().copied().chain(nodes_inside(view, cluster)).chain(view.service_ranges.iter().copied());
        let others = cluster.nodes.values().filter(|node| node.name != view.name);
        let other_nodes = others.flat_map(|node| node.addresses.iter().copied()).collect();
        let held: BTreeSet<IpAddr> = own_addresses.iter().chain(&view.link_addresses).copied().collect();
        let cluster_ranges = outermost(all.collect());
        let [inside, bypassing] = inside(view, &held, own, &pods);
        let mut network = Self {
            own_addresses,
            held,
            zone,
            here,
            inside,
            bypassing,
            cluster: cluster_ranges,
            pods,
            labels: Labels::of(view, cluster),
            other_nodes,
            ..Self::default()
        };
        network.node_port_addresses = network.serving_node_ports(&view.node_port_addresses);
        network.refuse_the_rest(view, own_pods.map_or(&[], Vec::as_slice));
        network.add_routes(view, cluster);
        network.routes.sort_unstable();
        network
    }

    /// Whether what is planned for a Service is the same in both networks.
    pub(super) fn serves_like(&self, other: &Self) -> bool {
        (&self.own_addresses, &self.zone, &self.here) == (&other.own_addresses, &other.zone, &other.here)
    }

    fn serving_node_ports(&self, which: &NodePortAddresses) -> Vec<IpAddr> {
        let held = self.held.iter().copied();
        match which {
            NodePortAddresses::All => held.collect(),
            NodePortAddresses::Primary => held.filter(|address| self.own_addresses.contains(address)).collect(),
            NodePortAddresses::Within(ranges) => {
                held.filter(|address| ranges.iter().any(|range| range.contains(address))).collect()
            }
        }
    }

    pub(super) fn may_be_here(&self, address: IpAddr) -> bool {
        self.here.iter().any(|range| range.contains(&address))
    }

    /// Packets to pod addresses that no narrower route takes end here.
    fn refuse_the_rest(&mut self, view: &NodeView, own_pods: &[IpNet]) {
        let ranges = outermost(own_pods.iter().chain(&view.pod_ranges).copied().collect());
        self.routes.extend(ranges.into_iter().map(|destination| Route { destination, hop: Hop::Refused }));
    }

    fn add_routes(&mut self, view: &NodeView, cluster: &Cluster) {
        let ranges = cluster.nodes.values().flat_map(|node| &node.pod_cidrs);
        let families = ranges.map(|range| IpFamily::of(range.network())).collect();
        let mut tunnel = cluster.nodes.get(&view.name).and_then(|own| Tunnel::of(own, &view.routing, &families));
        let mut overlaps = overlaps(cluster);
        let mut routes: BTreeMap<IpNet, Hop> = BTreeMap::new();
        for node in cluster.nodes.values().filter(|node| node.name != view.name) {
            if node.pod_cidrs.is_empty() {
                self.peers.push(PeerPath { node: node.name.clone(), pods: None, way: Err(NoWay::NoRange) });
            }
            for pods in node.pod_cidrs.iter().copied() {
                let way = match overlaps.remove(&(&node.name, pods)) {
                    Some(overlap) => Err(overlap),
                    None => way(view, &self.own_addresses, (node, pods), tunnel.as_mut()),
                };
                routes.extend(way.as_ref().ok().map(|way| (pods, way.hop)));
                self.peers.push(PeerPath { node: node.name.clone(), pods: Some(pods), way });
            }
        }
        self.tunnel = tunnel.filter(|tunnel| !tunnel.forwarding.is_empty());
        // A node whose range is the whole cluster's takes the place of the refusal.
        self.routes.retain(|route| !routes.contains_key(&route.destination));
        self.routes.extend(routes.into_iter().map(|(destination, hop)| Route { destination, hop }));
    }

    /// Ranges that cannot be routed.
    pub(super) fn rejected(&self) -> impl Iterator<Item = Rejected> {
        self.peers.iter().filter_map(|peer| {
            let no_way = peer.way.as_ref().err()?;
            let field = no_way.field()?.to_owned();
            let (object, reason) = (Subject::node(&peer.node), RejectedReason::Refused);
            Some(Rejected { object, field, why: no_way.to_string(), reason })
        })
    }
}

/// The ranges of pods that do not count, by node, because they overlap one of an older node.
///
/// A node that comes later, with a range mistyped or of its own choice, takes nothing from those that work: not by its
/// name, and not by a range that is narrower. Its age is the one thing about a node that only the API server decides.
/// Every node decides alike, one whose own range it is too.
fn overlaps(cluster: &Cluster) -> BTreeMap<(&Name, IpNet), NoWay> {
    let mut nodes: Vec<&Node> = cluster.nodes.values().map(Arc::as_ref).collect();
    // Stable: of the same age they are in the order of their names.
    nodes.sort_by_key(|node| node.created);
    let mut taken: Apart<&Name> = Apart::default();
    let mut overlaps = BTreeMap::new();
    for node in nodes {
        for pods in node.pod_cidrs.iter().copied() {
            if let Err((range, other)) = taken.insert(pods, &node.name) {
                let overlap = NoWay::Overlap { pods, range: *range, node: Name::clone(other) };
                overlaps.insert((&node.name, pods), overlap);
            }
        }
    }
    overlaps
}

/// Ranges of clients inside, and of those among them whose answers may not come back by this node.
fn inside(view: &NodeView, held: &BTreeSet<IpAddr>, own: Option<&Arc<Node>>, pods: &[IpNet]) -> [Vec<IpNet>; 2] {
    let held = || held.iter().map(|address| IpNet::from(*address));
    match view.pod_addresses {
        PodAddresses::NodeRanges => {
            let own_pods = own.into_iter().flat_map(|node| node.pod_cidrs.iter().copied());
            [outermost(held().chain(own_pods).collect()), held().collect()]
        }
        // Any pod may be this node's. One that is another's hears from an endpoint directly, unless it is masqueraded.
        PodAddresses::AnyRange => {
            let all = outermost(held().chain(pods.iter().copied()).collect());
            [all.clone(), all]
        }
    }
}

/// Addresses of nodes that are not outside the cluster. That of a node behind the tunnel is: the network on the way
/// there does not know pods' addresses.
fn nodes_inside(view: &NodeView, cluster: &Cluster) -> impl Iterator<Item = IpNet> {
    let own = cluster.nodes.get(&view.name).map_or(&[][..], |own| &own.addresses);
    let addresses = cluster.nodes.values().flat_map(|node| node.addresses.iter().map(move |address| (node, *address)));
    let inside = addresses
        .filter(|(node, address)| node.name == view.name || view.routing.reason_for(own, *address).is_native());
    inside.map(|(_, address)| IpNet::from(address))
}

/// The way to pods of another node, or why there is none.
fn way(
    view: &NodeView,
    own: &[IpAddr],
    (node, pods): (&Node, IpNet),
    tunnel: Option<&mut Tunnel>,
) -> Result<Way, NoWay> {
    let (routing, family) = (&view.routing, IpFamily::of(pods.network()));
    let of_family = node.addresses.iter().copied().find(|address| IpFamily::of(*address) == family);
    let reason = match of_family {
        Some(to) => match routing.reason_for(own, to) {
            reason if reason.is_native() => {
                return Ok(Way { hop: Hop::Via(to), to, mtu: routing.native_mtu(own, to), reason });
            }
            reason => reason,
        },
        None if routing.mode == RoutingMode::Native => return Err(NoWay::NoAddress { pods }),
        None if routing.mode == RoutingMode::Vxlan => Reason::VxlanSet,
        None => Reason::NoAddress(family),
    };
    let tunnel = tunnel.ok_or_else(|| NoWay::NoOwnAddress { node: view.name.clone() })?;
    let (gateway, to) = tunnel.add_peer(node, pods).ok_or(NoWay::OtherFamily { pods, own: tunnel.endpoint })?;
    Ok(Way { hop: Hop::Tunnel(gateway), to, mtu: tunnel.mtu, reason })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sample;

    /// The destinations of the ways from `viewer` to other nodes' pods, among nodes with these ranges; the later in the
    /// list the younger.
    fn reached_from(viewer: &str, nodes: &[(&str, &str)]) -> Vec<String> {
        let mut cluster = Cluster::default();
        for (age, (name, range)) in (1..).zip(nodes) {
            let known = sample::plain_cluster(0, 0).nodes.values().next().cloned().unwrap();
            let (name, pod_cidrs) = (Name::from(*name), vec![range.parse().unwrap()]);
            let node = Node { name, pod_cidrs, created: Duration::from_secs(age), ..Node::clone(&known) };
            cluster.nodes.insert(node.name.clone(), Arc::new(node));
        }
        let peers = Network::of(&NodeView::new(viewer), &cluster).peers;
        let reached = peers.iter().filter(|peer| peer.way.is_ok());
        reached.filter_map(|peer| Some(peer.pods?.to_string())).collect()
    }

    #[test]
    fn a_node_that_comes_later_takes_no_range_from_those_that_work() {
        let old = [("b", "10.244.1.0/24"), ("c", "10.244.2.0/24"), ("d", "10.244.3.0/24")];
        for newcomer in ["10.0.0.0/8", "10.244.2.0/24", "10.244.2.0/25"] {
            let all: Vec<_> = old.into_iter().chain([("a", newcomer)]).collect();
            assert_eq!(reached_from("b", &all), ["10.244.2.0/24", "10.244.3.0/24"], "{newcomer}");
        }
        let all: Vec<_> = old.into_iter().chain([("a", "10.0.0.0/8")]).collect();
        let from_newcomer = ["10.244.1.0/24", "10.244.2.0/24", "10.244.3.0/24"];
        assert_eq!(reached_from("a", &all), from_newcomer, "the newcomer decides like all others");
    }
}
