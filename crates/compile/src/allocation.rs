//! Ranges of pod addresses for nodes that have none.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use model::{Cluster, Name, Rejected, RejectedReason, Subject};

use crate::ranges::outermost;

/// A range that nodes' ranges are cut from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    range: IpNet,
    node_prefix: u8,
}

/// A pool that nodes cannot be given ranges of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a node's range cannot be a /{node_prefix} of {range}; it must be between /{} and /{}", range.prefix_len(), range.max_prefix_len())]
pub struct PoolError {
    range: IpNet,
    node_prefix: u8,
}

/// Who gets what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allocation {
    /// Nodes in the order of their names, each with a range of every pool in the pools' order.
    pub given: BTreeMap<Name, Vec<IpNet>>,
    /// Nodes for which there is none left.
    pub rejected: Vec<Rejected>,
}

impl Pool {
    /// The pool `range`, of which every node gets a `/node_prefix`.
    pub fn new(range: IpNet, node_prefix: u8) -> Result<Self, PoolError> {
        if (range.prefix_len()..=range.max_prefix_len()).contains(&node_prefix) {
            Ok(Self { range: range.trunc(), node_prefix })
        } else {
            Err(PoolError { range, node_prefix })
        }
    }

    /// The range all nodes' ranges are cut from.
    pub const fn range(&self) -> IpNet {
        self.range
    }

    /// How many addresses a node gets, less one: a /0 of IPv6 has one more than the number can say.
    fn step(&self) -> u128 {
        let host_bits = u32::from(self.range.max_prefix_len() - self.node_prefix);
        u128::MAX.checked_shr(u128::BITS - host_bits).unwrap_or(0)
    }
}

/// Gives each of `wanting` the lowest ranges that overlap no node's. Nodes that have ranges keep them; a name that is
/// no node's gets nothing. Costs time in proportion to the nodes and what is given.
pub fn allocate(pools: &[Pool], cluster: &Cluster, wanting: &[Name]) -> Allocation {
    let mut allocation = Allocation::default();
    let taken: Vec<IpNet> = cluster.nodes.values().flat_map(|node| node.pod_cidrs.iter().copied()).collect();
    let mut cutters: Vec<Cutter> = pools.iter().map(|pool| Cutter::new(*pool, &taken)).collect();
    let is_bare = |name: &&Name| cluster.nodes.get(*name).is_some_and(|node| node.waits_for_ranges());
    for name in wanting.iter().filter(is_bare) {
        // All or nothing: the API takes a node's ranges once and for all.
        if let Some(full) = cutters.iter().find(|cutter| cutter.next.is_none()) {
            allocation.rejected.push(full.rejected(name));
            continue;
        }
        let ranges = cutters.iter_mut().filter_map(Cutter::cut).collect();
        allocation.given.insert(name.clone(), ranges);
    }
    allocation
}

/// Cuts ranges from a pool, from its beginning to its end.
struct Cutter {
    pool: Pool,
    /// The ranges of nodes as first and last address, by the first; none overlaps one before it.
    taken: BTreeMap<u128, u128>,
    /// Where the next range begins; none when there is no more.
    next: Option<u128>,
}

impl Cutter {
    fn new(pool: Pool, taken: &[IpNet]) -> Self {
        let overlapping = taken.iter().copied().filter(|net| pool.range.contains(net) || net.contains(&pool.range));
        let apart = outermost(overlapping.collect()).into_iter();
        let taken = apart.map(|net| (number(net.network()), number(net.broadcast()))).collect();
        let mut cutter = Self { pool, taken, next: None };
        cutter.next = cutter.free_from(number(pool.range.network()));
        cutter
    }

    /// The first free range that begins at `start` or behind it; `start` must be where one could begin.
    fn free_from(&self, mut start: u128) -> Option<u128> {
        let end = number(self.pool.range.broadcast());
        loop {
            let last = start.checked_add(self.pool.step()).filter(|last| *last <= end)?;
            match self.taken.range(..=last).next_back() {
                Some((_, held)) if *held >= start => start = self.after((*held).max(last))?,
                _ => return Some(start),
            }
        }
    }

    /// Where the range behind that of `last` begins.
    fn after(&self, last: u128) -> Option<u128> {
        (last | self.pool.step()).checked_add(1)
    }

    fn cut(&mut self) -> Option<IpNet> {
        let start = self.next?;
        self.next = self.after(start).and_then(|next| self.free_from(next));
        let address = match self.pool.range {
            // A number of a pool of IPv4 is that of one of its addresses, 32 bits.
            IpNet::V4(_) => IpAddr::from((start as u32).to_be_bytes()),
            IpNet::V6(_) => IpAddr::from(Ipv6Addr::from_bits(start)),
        };
        IpNet::new(address, self.pool.node_prefix).ok()
    }

    fn rejected(&self, name: &Name) -> Rejected {
        let Pool { range, node_prefix } = self.pool;
        let why = format!(
            "is empty, and {range} has no free /{node_prefix} left: remove nodes, or give the controller a larger range"
        );
        Rejected { object: Subject::node(name), field: "spec.podCIDRs".into(), why, reason: RejectedReason::Refused }
    }
}

/// An address as a number, 32 bits for IPv4.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use std::time::Duration;

    use model::Node;
    use proptest::prelude::*;

    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn pool(range: &str, node_prefix: u8) -> Pool {
        Pool::new(net(range), node_prefix).unwrap()
    }

    fn insert(cluster: &mut Cluster, name: &str, pod_cidrs: Vec<IpNet>) {
        let (addresses, labels) = (Vec::new(), BTreeMap::new());
        let node = Node {
            name: name.into(),
            addresses,
            pod_cidrs,
            uid: "".into(),
            has_refused_range: false,
            labels,
            leaving: false,
            created: Duration::ZERO,
        };
        cluster.nodes.insert(node.name.clone(), Arc::new(node));
    }

    fn cluster(nodes: &[(&str, &[&str])]) -> Cluster {
        let mut cluster = Cluster::default();
        for (name, ranges) in nodes {
            let pod_cidrs = ranges.iter().map(|range| net(range)).collect();
            insert(&mut cluster, name, pod_cidrs);
        }
        cluster
    }

    fn given(allocation: &Allocation) -> Vec<String> {
        let texts = |ranges: &Vec<IpNet>| ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        allocation.given.iter().map(|(name, ranges)| format!("{name}: {}", texts(ranges))).collect()
    }

    #[test]
    fn nodes_get_the_lowest_ranges_that_nobody_has() {
        let nodes =
            cluster(&[("a", &["10.244.1.0/24"]), ("b", &[]), ("c", &[]), ("d", &["10.244.2.0/23"]), ("e", &[])]);
        let pools = [pool("10.244.0.0/16", 24), pool("fd00::/48", 64)];
        let wanting = ["b", "c", "e", "nobody"].map(Name::from);
        let allocation = allocate(&pools, &nodes, &wanting);
        let expected =
            ["b: 10.244.0.0/24 fd00::/64", "c: 10.244.4.0/24 fd00:0:0:1::/64", "e: 10.244.5.0/24 fd00:0:0:2::/64"];
        assert_eq!((given(&allocation), allocation.rejected), (expected.map(str::to_owned).to_vec(), vec![]));
    }

    #[test]
    fn a_node_for_which_nothing_is_left_is_told_and_gets_no_half() {
        let nodes = cluster(&[("a", &["10.0.0.0/25"]), ("b", &[]), ("c", &[])]);
        let pools = [pool("fd00::/48", 64), pool("10.0.0.0/24", 25)];
        let allocation = allocate(&pools, &nodes, &["b", "c"].map(Name::from));
        assert_eq!(given(&allocation), ["b: fd00::/64 10.0.0.128/25"]);
        let told: Vec<String> = allocation.rejected.iter().map(ToString::to_string).collect();
        let expected = "Node c: spec.podCIDRs: is empty, and 10.0.0.0/24 has no free /25 left: remove nodes, or give the \
                        controller a larger range";
        assert_eq!(told, [expected]);
    }

    #[test]
    fn the_edges_of_the_address_space_are_given_once() {
        let nodes = cluster(&[("a", &[]), ("b", &[]), ("c", &[])]);
        let wanting = ["a", "b", "c"].map(Name::from);
        let last = allocate(&[pool("255.255.255.254/31", 32)], &nodes, &wanting);
        assert_eq!(given(&last), ["a: 255.255.255.254/32", "b: 255.255.255.255/32"]);
        let all = allocate(&[pool("::/0", 0)], &nodes, &wanting);
        assert_eq!(given(&all), ["a: ::/0"]);
    }

    #[test]
    fn a_prefix_outside_the_pool_is_refused() {
        let error = Pool::new(net("10.244.0.0/16"), 8).unwrap_err();
        let expected = "a node's range cannot be a /8 of 10.244.0.0/16; it must be between /16 and /32";
        assert_eq!(error.to_string(), expected);
    }

    proptest! {
        #[test]
        fn no_two_nodes_ever_overlap(held in prop::collection::btree_set((0_u32..64, 26_u8..=30), 0..6), count in 0_usize..40) {
            let mut nodes = cluster(&[]);
            let mut taken: Vec<IpNet> = Vec::new();
            for (index, (offset, prefix)) in held.into_iter().enumerate() {
                let address = IpAddr::from((0x0a00_0000 + offset * 4).to_be_bytes());
                let range = IpNet::new(address, prefix).unwrap().trunc();
                if taken.iter().any(|other| other.contains(&range) || range.contains(other)) {
                    continue;
                }
                taken.push(range);
                insert(&mut nodes, &format!("h{index}"), vec![range]);
            }
            let wanting: Vec<Name> = (0..count).map(|index| format!("w{index:02}").into()).collect();
            for name in &wanting {
                insert(&mut nodes, name.as_str(), Vec::new());
            }
            let allocation = allocate(&[pool("10.0.0.0/24", 28)], &nodes, &wanting);
            let all: Vec<IpNet> = taken.iter().copied().chain(allocation.given.values().flatten().copied()).collect();
            for (index, range) in all.iter().enumerate() {
                prop_assert!(all[..index].iter().all(|other| !other.contains(range) && !range.contains(other)), "{all:?}");
            }
            let free = (0_u32..16).filter(|slot| {
                let range = IpNet::new(IpAddr::from((0x0a00_0000 + slot * 16).to_be_bytes()), 28).unwrap();
                taken.iter().all(|other| !other.contains(&range) && !range.contains(other))
            });
            prop_assert_eq!(allocation.given.len(), count.min(free.count()));
            let names: BTreeSet<&Name> = allocation.given.keys().collect();
            prop_assert_eq!(names.len() + allocation.rejected.len(), count);
        }
    }
}
