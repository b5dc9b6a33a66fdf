//! Addresses that are in use in the cluster already, which no pool can give away.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use model::{AddressRange, Cluster, Name, NamespacedName, ServiceKind};

/// Who has addresses that are not from pools: nodes, pods and Services.
pub(super) struct Reserved<'a> {
    single: BTreeMap<IpAddr, Holder<'a>>,
    /// Ranges that have nothing in common, by their first address.
    ranges: BTreeMap<IpAddr, ReservedRange<'a>>,
}

#[derive(Clone, Copy)]
enum Holder<'a> {
    Node(&'a Name),
    ClusterIp(&'a NamespacedName),
}

/// A range that the cluster gives addresses of to its own, whether or not somebody has them yet.
#[derive(Clone, Copy)]
pub(super) struct ReservedRange<'a> {
    range: IpNet,
    user: RangeUser<'a>,
}

#[derive(Clone, Copy)]
enum RangeUser<'a> {
    /// The pods of a Node.
    Pods(&'a Name),
    /// Cluster IPs, by the ServiceCIDR that says so.
    ClusterIps(&'a Name),
}

impl fmt::Display for ReservedRange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.user {
            RangeUser::Pods(node) => write!(f, "{}, the range of Node {node}'s pods", self.range),
            RangeUser::ClusterIps(object) => {
                write!(f, "{}, the range of cluster IPs (ServiceCIDR {object})", self.range)
            }
        }
    }
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
        Self { single: of_services.chain(of_nodes).collect(), ranges: ranges(cluster) }
    }

    /// Whose an address is already.
    pub fn holder(&self, address: IpAddr) -> Option<String> {
        match (self.single.get(&address), self.range_of(address)) {
            (Some(Holder::Node(node)), _) => Some(format!("it is an address of Node {node}")),
            (Some(Holder::ClusterIp(service)), _) => Some(format!("it is the cluster IP of Service {service}")),
            (None, Some(range)) => Some(format!("it is of {range}")),
            (None, None) => None,
        }
    }

    /// The last of the addresses from this one on that have the same holder.
    pub fn end(&self, address: IpAddr) -> IpAddr {
        self.range_of(address).map_or(address, |found| found.range.broadcast())
    }

    /// The first address of a range that is somebody's though it is of no reserved range.
    pub fn first_single_in(&self, range: &AddressRange) -> Option<IpAddr> {
        self.single_in(range).next()
    }

    /// The reserved ranges that share addresses with a range, and what they share.
    pub fn ranges_in(&self, range: &AddressRange) -> impl Iterator<Item = (&ReservedRange<'a>, AddressRange)> {
        let before = self.ranges.range(..range.first()).next_back();
        let within = self.ranges.range(range.first()..).take_while(|(first, _)| range.contains(**first));
        before.into_iter().chain(within).filter_map(|(_, found)| {
            let whole = AddressRange::new(found.range.network(), found.range.broadcast())?;
            Some((found, whole.shared_with(range)?))
        })
    }

    /// The addresses of a range that are somebody's and of no reserved range.
    pub fn single_in(&self, range: &AddressRange) -> impl Iterator<Item = IpAddr> {
        let within = self.single.range(range.first()..).take_while(|(address, _)| range.contains(**address));
        within.map(|(address, _)| *address).filter(|address| self.range_of(*address).is_none())
    }

    fn range_of(&self, address: IpAddr) -> Option<&ReservedRange<'a>> {
        let (_, found) = self.ranges.range(..=address).next_back()?;
        found.range.contains(&address).then_some(found)
    }
}

/// The reserved ranges without those that lie in others: two prefixes that have something in common are one in the other.
fn ranges(cluster: &Cluster) -> BTreeMap<IpAddr, ReservedRange<'_>> {
    let pods = cluster.nodes.values().flat_map(|node| {
        node.pod_cidrs.iter().map(|range| ReservedRange { range: *range, user: RangeUser::Pods(&node.name) }) //
    });
    let cluster_ips = cluster.service_ranges.iter().flat_map(|(name, ranges)| {
        ranges.iter().map(move |range| ReservedRange { range: *range, user: RangeUser::ClusterIps(name) }) //
    });
    let mut all: Vec<ReservedRange<'_>> = pods.chain(cluster_ips).collect();
    all.sort_by_key(|found| found.range.prefix_len());
    let mut outermost: BTreeMap<IpAddr, ReservedRange<'_>> = BTreeMap::new();
    for found in all {
        let before = outermost.range(..=found.range.network()).next_back();
        if !before.is_some_and(|(_, wider)| wider.range.contains(&found.range)) {
            outermost.insert(found.range.network(), found);
        }
    }
    outermost
}
