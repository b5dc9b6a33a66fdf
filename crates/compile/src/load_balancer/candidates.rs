//! Which nodes take part in answering for load balancer addresses.
//!
//! Each that does renews a Lease and watches those of all others: with every node of a large cluster that would be
//! millions of messages for nothing, as one node answers for an address and few are needed to replace it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use model::{Cluster, IpFamily, Name, Node, NodeNetworks, Service, TrafficPolicy};

use super::announce::{given_addresses, is_eligible, rank};
use crate::plan::serving_nodes;

/// So many nodes of each network answer for the addresses of it that any node can serve: clusters of up to as many nodes use
/// them all, and in larger ones this many share the traffic from outside.
const OF_NETWORK: usize = 32;
/// So many of the nodes with an endpoint answer for an address that only these can serve.
const OF_ADDRESS: usize = 4;
/// So many take part for an address although they are not on a network of it: somebody has to tell when nobody is.
const OFF_NETWORK: usize = 2;

/// Whether a node on these networks takes part in answering for load balancer addresses.
///
/// All nodes choose alike from the same snapshot, without knowing of each other's networks more than the addresses in
/// the Nodes. Where those say less, more nodes take part and not fewer.
pub fn takes_part(cluster: &Cluster, node: &Name, networks: &NodeNetworks) -> bool {
    let mut candidacy = Candidacy { cluster, node, networks, of_network: BTreeMap::new() };
    cluster
        .services
        .values()
        .any(|service| given_addresses(service).iter().any(|address| candidacy.takes_part_for(service, *address)))
}

struct Candidacy<'a> {
    cluster: &'a Cluster,
    node: &'a Name,
    networks: &'a NodeNetworks,
    /// What was found for a network, or for addresses of none.
    of_network: BTreeMap<Option<IpNet>, bool>,
}

impl Candidacy<'_> {
    fn takes_part_for(&mut self, service: &Service, address: IpAddr) -> bool {
        let network = self.network_of(address);
        match service.external_policy {
            TrafficPolicy::Local => {
                let serving = serving_nodes(service, IpFamily::of(address), self.cluster);
                let places = if network.is_some() { OF_ADDRESS } else { OFF_NETWORK };
                serving.contains(self.node) && self.is_among(places, network, address, serving.into_iter())
            }
            TrafficPolicy::Cluster => self.takes_part_on(network),
        }
    }

    /// Whether this node is one of those that answer for all addresses of a network which any node can serve.
    fn takes_part_on(&mut self, network: Option<IpNet>) -> bool {
        if let Some(known) = self.of_network.get(&network) {
            return *known;
        }
        let places = if network.is_some() { OF_NETWORK } else { OFF_NETWORK };
        let by = network.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |network| network.network());
        let found = self.is_among(places, network, by, self.cluster.nodes.keys());
        self.of_network.insert(network, found);
        found
    }

    /// The network of this node that an address is of.
    fn network_of(&self, address: IpAddr) -> Option<IpNet> {
        match self.networks {
            NodeNetworks::Told(networks) => networks.iter().copied().find(|network| network.contains(&address)),
            NodeNetworks::Untold => None,
        }
    }

    /// Whether this node is one of so many that rank highest by an address among those on the same network.
    fn is_among<'b>(
        &self,
        places: usize,
        network: Option<IpNet>,
        by: IpAddr,
        able: impl Iterator<Item = &'b Name>,
    ) -> bool {
        let shares_network =
            |node: &Node| network.is_none_or(|network| node.addresses.iter().any(|address| network.contains(address)));
        let key = |node: &Name| (is_eligible(self.cluster, node), rank(node, by));
        let own = key(self.node);
        let rivals = able.filter_map(|node| self.cluster.nodes.get(node));
        let before = rivals.filter(|node| node.name != *self.node && shares_network(node) && key(&node.name) > own);
        before.take(places).count() < places
    }
}
