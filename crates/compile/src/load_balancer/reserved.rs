//! Addresses that are in use in the cluster already, which no pool can give away.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use model::{AddressRange, Cluster, Name, NamespacedName, ServiceKind};

/// Who has addresses that are not from pools: nodes, pods and Services.
pub(super) struct Reserved<'a> {
    single: BTreeMap<IpAddr, Holder<'a>>,
    /// The ranges of nodes' pods by their first address.
    pods: BTreeMap<IpAddr, (IpNet, &'a Name)>,
}

#[derive(Clone, Copy)]
enum Holder<'a> {
    Node(&'a Name),
    ClusterIp(&'a NamespacedName),
}

impl<'a> Reserved<'a> {
    /// What a snapshot knows of.
    pub fn of(cluster: &'a Cluster) -> Self {
        let nodes = cluster.nodes.values();
        let of_nodes = nodes.flat_map(|node| node.addresses.iter().map(|address| (*address, Holder::Node(&node.name))));
        let of_services = cluster.services.values().flat_map(|service| {
            let addresses = match &service.kind {
                ServiceKind::Virtual { cluster_ips, .. } => cluster_ips.as_slice(),
                _ => &[],
            };
            addresses.iter().map(|address| (*address, Holder::ClusterIp(&service.name)))
        });
        let single = of_services.chain(of_nodes).collect();
        let pods = cluster.nodes.values().flat_map(|node| {
            node.pod_cidrs.iter().map(|range| (range.network(), (*range, &node.name))) //
        });
        Self { single, pods: pods.collect() }
    }

    /// Whose an address is already.
    pub fn holder(&self, address: IpAddr) -> Option<String> {
        match (self.single.get(&address), self.pods_of(address)) {
            (Some(Holder::Node(node)), _) => Some(format!("it is an address of Node {node}")),
            (Some(Holder::ClusterIp(service)), _) => Some(format!("it is the cluster IP of Service {service}")),
            (None, Some((range, node))) => Some(format!("it is of {range}, the range of Node {node}'s pods")),
            (None, None) => None,
        }
    }

    /// The last of the addresses from this one on that have the same holder.
    pub fn end(&self, address: IpAddr) -> IpAddr {
        self.pods_of(address).map_or(address, |(range, _)| range.broadcast())
    }

    /// The first address of a range that is somebody's.
    pub fn first_in(&self, range: &AddressRange) -> Option<IpAddr> {
        let first = range.first();
        let single = self.single.range(first..).next().map(|(address, _)| *address);
        let pods = self.pods.range(first..).next().map(|(address, _)| *address);
        let pods = self.pods_of(first).map(|_| first).or(pods);
        single.into_iter().chain(pods).filter(|address| range.contains(*address)).min()
    }

    /// The parts of a range that are pods'.
    pub fn pods_in(&self, range: &AddressRange) -> impl Iterator<Item = AddressRange> {
        let before = self.pods.range(..range.first()).next_back();
        let within = self.pods.range(range.first()..).take_while(|(first, _)| range.contains(**first));
        before.into_iter().chain(within).filter_map(|(_, (pods, _))| {
            AddressRange::new(pods.network(), pods.broadcast())?.shared_with(range) //
        })
    }

    /// The addresses of a range that are somebody's but no pods'.
    pub fn single_in(&self, range: &AddressRange) -> impl Iterator<Item = IpAddr> {
        let within = self.single.range(range.first()..).take_while(|(address, _)| range.contains(**address));
        within.map(|(address, _)| *address).filter(|address| self.pods_of(*address).is_none())
    }

    fn pods_of(&self, address: IpAddr) -> Option<(IpNet, &'a Name)> {
        let (_, found) = self.pods.range(..=address).next_back()?;
        found.0.contains(&address).then_some(*found)
    }
}
