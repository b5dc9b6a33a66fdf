//! How large the ranges of a cluster's pods must be, and whether they are free: decided before there is a cluster.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use model::{IpFamily, RESERVED_RANGES};

/// A node has this many addresses for each pod it may run at once, so that an address rests before it is used again.
const ADDRESSES_PER_POD: u64 = 2;
/// What IPv6 nodes get: interface identifiers have 64 bits (RFC 4291, 2.5.1).
const NODE_PREFIX_V6: u8 = 64;
/// Where free ranges are looked for (RFC 1918; RFC 4193 with the locally assigned prefix), the usual one first.
const CANDIDATES: [IpNet; 3] = [
    IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(10, 244, 0, 0)), 16),
    IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 0)), 8),
    IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(172, 16, 0, 0)), 12),
];
/// At most this many bits number the parts of an IPv6 range: kube-controller-manager ends at once with more.
const MAX_PART_BITS: u8 = 16;
const CANDIDATES_V6: [IpNet; 2] = [
    IpNet::new_assert(IpAddr::V6(Ipv6Addr::new(0xfd00, 0x10, 0x244, 0, 0, 0, 0, 0)), 48),
    IpNet::new_assert(IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0)), 8),
];

/// What a cluster is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Nodes it will ever have.
    pub nodes: u32,
    /// Pods a node runs at once (the kubelet's `maxPods`).
    pub pods_per_node: u32,
}

/// The sizes of the ranges of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// The prefix length of the range of all pods.
    pub cluster: u8,
    /// The prefix length of each node's part of it.
    pub node: u8,
    /// How many nodes such a range has parts for.
    pub nodes: u64,
}

/// Why a range cannot be a cluster's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Objection {
    /// It has parts for fewer nodes than there will be.
    TooSmall {
        /// How many it has parts for.
        nodes: u64,
    },
    /// The controller manager takes no range with so many parts; a range of `widest` bits has as many as it takes.
    TooManyParts {
        /// The shortest prefix length it takes for parts of this size.
        widest: u8,
    },
    /// It lies in another range that is in use, or the other way round.
    Overlaps {
        /// The other range.
        with: IpNet,
        /// What that is.
        what: String,
    },
}

impl Demand {
    /// The sizes that hold it; `None` when no private range of the family can.
    pub fn sizes(&self, family: IpFamily) -> Option<Sizes> {
        let parts = bits_for(u64::from(self.nodes.max(1)));
        let node = match family {
            // The first and the last address of a range are never given out.
            IpFamily::V4 => {
                let addresses = u64::from(self.pods_per_node.max(1)) * ADDRESSES_PER_POD + 2;
                32_u8.checked_sub(bits_for(addresses))?
            }
            IpFamily::V6 => NODE_PREFIX_V6,
        };
        if family == IpFamily::V6 && parts > MAX_PART_BITS {
            return None;
        }
        let cluster = node.checked_sub(parts).filter(|prefix| *prefix >= 8)?;
        Some(Sizes { cluster, node, nodes: 1 << parts })
    }

    /// What speaks against `range` for this cluster, with parts of `node` bits for the nodes; nothing when it is good.
    pub fn objections(&self, range: IpNet, node: u8, taken: &[(IpNet, String)]) -> Vec<Objection> {
        let parts = node.saturating_sub(range.prefix_len());
        let nodes = if node < range.prefix_len() { 0 } else { 1_u64.checked_shl(parts.into()).unwrap_or(u64::MAX) };
        let mut objections = Vec::new();
        if nodes < u64::from(self.nodes) {
            objections.push(Objection::TooSmall { nodes });
        }
        if range.addr().is_ipv6() && parts > MAX_PART_BITS {
            objections.push(Objection::TooManyParts { widest: node.saturating_sub(MAX_PART_BITS) });
        }
        objections.extend(overlaps(range, taken));
        objections
    }

    /// A private range of the right size in which nothing is taken; `None` when there is none.
    pub fn free_range(&self, family: IpFamily, taken: &[(IpNet, String)]) -> Option<IpNet> {
        let sizes = self.sizes(family)?;
        let candidates: &[IpNet] = match family {
            IpFamily::V4 => &CANDIDATES,
            IpFamily::V6 => &CANDIDATES_V6,
        };
        let fitting = candidates.iter().filter(|candidate| candidate.prefix_len() <= sizes.cluster);
        fitting.copied().find_map(|candidate| first_free(candidate, sizes.cluster, taken))
    }
}

/// What `range` overlaps of that which is taken, and of that which neither pods nor Services can have addresses of.
pub fn overlaps(range: IpNet, taken: &[(IpNet, String)]) -> Vec<Objection> {
    let reserved = RESERVED_RANGES.iter().map(|(other, what)| (*other, *what));
    let all = reserved.chain(taken.iter().map(|(other, what)| (*other, what.as_str())));
    let overlapping = all.filter(|(other, _)| overlap(range, *other));
    overlapping.map(|(with, what)| Objection::Overlaps { with, what: what.to_owned() }).collect()
}

/// The lowest part of `within` of this prefix length in which nothing is taken. Takes one step for each range taken,
/// however many parts that range has.
fn first_free(within: IpNet, prefix: u8, taken: &[(IpNet, String)]) -> Option<IpNet> {
    let mut next = within.network();
    loop {
        let part = IpNet::new(next, prefix).ok()?.trunc();
        let in_the_way = taken.iter().map(|(other, _)| *other).filter(|other| overlap(part, *other));
        // What starts right behind the last of them is the next part that may be free.
        let Some(end) = in_the_way.map(|other| other.broadcast().max(part.broadcast())).max() else {
            return Some(part);
        };
        next = after(end).filter(|next| within.contains(next))?;
    }
}

/// The next address; `None` behind the last.
fn after(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => address.to_bits().checked_add(1).map(|bits| Ipv4Addr::from_bits(bits).into()),
        IpAddr::V6(address) => address.to_bits().checked_add(1).map(|bits| Ipv6Addr::from_bits(bits).into()),
    }
}

/// How many bits number so many things.
fn bits_for(count: u64) -> u8 {
    // At most 64.
    u8::try_from(count.next_power_of_two().trailing_zeros()).unwrap_or(u8::MAX)
}

fn overlap(a: IpNet, b: IpNet) -> bool {
    a.contains(&b) || b.contains(&a)
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Demand = Demand { nodes: 200, pods_per_node: 110 };

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn taken(ranges: &[&str]) -> Vec<(IpNet, String)> {
        ranges.iter().map(|range| (net(range), "a route".to_owned())).collect()
    }

    #[test]
    fn a_node_has_twice_the_addresses_and_a_cluster_parts_for_all_nodes() {
        assert_eq!(USUAL.sizes(IpFamily::V4), Some(Sizes { cluster: 16, node: 24, nodes: 256 }));
        assert_eq!(USUAL.sizes(IpFamily::V6), Some(Sizes { cluster: 56, node: 64, nodes: 256 }));
        let large = Demand { nodes: 5000, pods_per_node: 250 };
        assert_eq!(large.sizes(IpFamily::V4), Some(Sizes { cluster: 10, node: 23, nodes: 8192 }));
        assert_eq!(Demand { nodes: 1 << 20, pods_per_node: 250 }.sizes(IpFamily::V4), None);
        assert_eq!(Demand { nodes: 1 << 17, pods_per_node: 1 }.sizes(IpFamily::V6), None);
        assert_eq!(Demand { nodes: 1, pods_per_node: 1 }.sizes(IpFamily::V4).unwrap().node, 30);
    }

    #[test]
    fn what_speaks_against_a_range_is_said() {
        assert_eq!(USUAL.objections(net("10.244.0.0/16"), 24, &taken(&["10.0.0.0/24"])), []);
        assert_eq!(
            USUAL.objections(net("10.244.0.0/20"), 24, &taken(&["10.0.0.0/8", "192.168.0.0/16"])),
            [
                Objection::TooSmall { nodes: 16 },
                Objection::Overlaps { with: net("10.0.0.0/8"), what: "a route".into() }
            ]
        );
        assert_eq!(USUAL.objections(net("10.244.0.0/26"), 24, &[]), [Objection::TooSmall { nodes: 0 }]);
        assert_eq!(USUAL.objections(net("fd00::/48"), 64, &[]), []);
        assert_eq!(USUAL.objections(net("fd00::/40"), 64, &[]), [Objection::TooManyParts { widest: 48 }]);
    }

    #[test]
    fn ranges_no_pod_can_have_addresses_of_are_objected_to() {
        let loopback = Objection::Overlaps { with: net("127.0.0.0/8"), what: "loopback addresses".into() };
        assert_eq!(USUAL.objections(net("127.0.0.0/8"), 24, &[]), [loopback]);
        for range in ["224.0.0.0/8", "169.254.0.0/16", "ff00::/48", "fe80::/48", "::/48"] {
            let objections = USUAL.objections(net(range), if range.contains(':') { 64 } else { 24 }, &[]);
            assert!(matches!(objections[..], [Objection::Overlaps { .. }]), "{range}: {objections:?}");
        }
    }

    #[test]
    fn a_free_range_is_the_usual_one_or_the_next_that_is_free() {
        assert_eq!(USUAL.free_range(IpFamily::V4, &[]), Some(net("10.244.0.0/16")));
        assert_eq!(USUAL.free_range(IpFamily::V4, &taken(&["10.244.7.0/24"])), Some(net("10.0.0.0/16")));
        assert_eq!(USUAL.free_range(IpFamily::V4, &taken(&["10.0.0.0/8"])), Some(net("172.16.0.0/16")));
        assert_eq!(USUAL.free_range(IpFamily::V4, &taken(&["10.0.0.0/8", "172.16.0.0/12"])), None);
        assert_eq!(USUAL.free_range(IpFamily::V6, &[]), Some(net("fd00:10:244::/56")));
    }

    #[test]
    fn ranges_however_large_are_passed_over_in_one_step() {
        assert_eq!(USUAL.free_range(IpFamily::V6, &taken(&["fd00::/8"])), None);
        assert_eq!(USUAL.free_range(IpFamily::V6, &taken(&["fd00::/24"])), Some(net("fd00:100::/56")));
        let scattered = ["fd00::/9", "fd80::/16", "fd80::/64", "fd81:0:0:42::/64", "10.0.0.0/8", "::/1"];
        assert_eq!(USUAL.free_range(IpFamily::V6, &taken(&scattered)), Some(net("fd81:0:0:100::/56")));
        assert_eq!(USUAL.free_range(IpFamily::V6, &taken(&["::/0"])), None);
    }
}
