//! Which node answers for a load balancer address on the network it is of.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use model::{Cluster, IpFamily, Name, NamespacedName, NodeNetworks, Service, ServiceKind, TrafficPolicy};

use super::choice;
use crate::plan::serving_nodes;

/// Whoever sets this label on a node wants no load balancer to send to it, whatever its value
/// (<https://kubernetes.io/docs/reference/labels-annotations-taints/>).
const EXCLUDED_LABEL: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// An address that one node of the cluster answers for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The Services that have it, at least one.
    pub services: BTreeSet<NamespacedName>,
    /// Who answers.
    pub answerer: Answerer,
}

/// Who answers for an address. Of Services that share it the greatest counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answerer {
    /// Nobody: no node that is there can serve it.
    Nobody,
    /// Nobody: of the nodes that can serve it none is on a network of it. This one of them is to say so.
    OffNetwork(Name),
    /// This node.
    Node(Name),
}

/// Every address that Fairway gave, with the node that answers for it among those that are there, each of which is on
/// some networks.
///
/// All nodes that know of the same live nodes come to the same choice: each address goes to the node that a hash of
/// both ranks highest, so that addresses are spread, and a node that comes or goes moves only those it gains or had.
/// Only nodes on a network of the address are asked: on any other nobody looks for it. With externalTrafficPolicy Local
/// only those with an endpoint of it; otherwise any, also to refuse when the Service has none. Nodes on their way out, and
/// those that are to be left out of load balancing, answer only where no other can.
pub fn announcements(cluster: &Cluster, there: &BTreeMap<Name, NodeNetworks>) -> BTreeMap<IpAddr, Announcement> {
    let mut found: BTreeMap<IpAddr, Announcement> = BTreeMap::new();
    for service in cluster.services.values() {
        for address in given_addresses(service) {
            let answerer = choose(cluster, service, *address, there);
            let nobody = || Announcement { services: BTreeSet::new(), answerer: Answerer::Nobody };
            let entry = found.entry(*address).or_insert_with(nobody);
            entry.services.insert(service.name.clone());
            // Those that share an address rank the nodes alike; one of them may have no endpoint.
            if entry.answerer < answerer {
                entry.answerer = answerer;
            }
        }
    }
    found
}

/// Every address that Fairway gave, each with whether there is a node that could answer for it.
pub fn answerable(cluster: &Cluster) -> BTreeMap<IpAddr, bool> {
    let mut found = BTreeMap::new();
    for service in cluster.services.values() {
        for address in given_addresses(service) {
            let is_served = match service.external_policy {
                TrafficPolicy::Cluster => true,
                TrafficPolicy::Local => !serving_nodes(service, IpFamily::of(*address), cluster).is_empty(),
            };
            *found.entry(*address).or_default() |= is_served;
        }
    }
    found
}

pub(super) fn given_addresses(service: &Service) -> &[IpAddr] {
    let is_given = service.load_balancer.as_ref().is_some_and(|request| request.is_given && !request.leaving);
    match &service.kind {
        ServiceKind::Virtual { load_balancer_ips, .. } if is_given && !service.delegated => load_balancer_ips,
        _ => &[],
    }
}

fn choose(cluster: &Cluster, service: &Service, address: IpAddr, there: &BTreeMap<Name, NodeNetworks>) -> Answerer {
    let serving = serving_nodes(service, IpFamily::of(address), cluster);
    let can_serve = |node: &Name| match service.external_policy {
        // Without an endpoint it refuses, which whoever asks learns sooner than that nobody answers.
        TrafficPolicy::Cluster => true,
        TrafficPolicy::Local => serving.contains(node),
    };
    let able = || there.iter().filter(|(node, _)| can_serve(node));
    let on_network = able().filter(|(_, networks)| networks.may_have(address));
    match (first(cluster, on_network, address), first(cluster, able(), address)) {
        (Some(node), _) => Answerer::Node(node),
        (None, Some(node)) => Answerer::OffNetwork(node),
        (None, None) => Answerer::Nobody,
    }
}

/// The node that ranks highest.
fn first<'a, T>(cluster: &Cluster, nodes: impl Iterator<Item = (&'a Name, T)>, address: IpAddr) -> Option<Name> {
    let key = |node: &&Name| (is_eligible(cluster, node), rank(node, address), (*node).clone());
    nodes.map(|(node, _)| node).max_by_key(key).cloned()
}

/// Whether load balancers may send to a node.
pub(super) fn is_eligible(cluster: &Cluster, node: &Name) -> bool {
    cluster.nodes.get(node).is_some_and(|node| !node.leaving && !node.labels.contains_key(EXCLUDED_LABEL))
}

/// How high a node ranks for an address.
pub(super) fn rank(node: &Name, address: IpAddr) -> u64 {
    let octets: Vec<u8> = match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    choice(octets.iter().chain(node.as_str().as_bytes()))
}
