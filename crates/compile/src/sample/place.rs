//! Where the nodes, endpoints and clients of sample clusters are.
//!
//! Every place has an IPv4 address, named here, and an IPv6 address, its [`twin`].

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use model::{IpFamily, Name, Node};

/// A node of sample clusters: its name, its address, the first three bytes of its pods' addresses.
pub struct SampleNode {
    /// The node's name.
    pub name: &'static str,
    /// Its InternalIP.
    pub address: Ipv4Addr,
    /// The zone it is in.
    pub zone: &'static str,
    /// The network of its pods, a /24.
    pub pods: Ipv4Addr,
}

/// The nodes a sample cluster may have; the first always exists and is the one plans are for.
pub const NODES: [SampleNode; 2] = [
    SampleNode { name: "node1", zone: "a", address: Ipv4Addr::new(10, 89, 0, 1), pods: Ipv4Addr::new(10, 244, 1, 0) },
    SampleNode { name: "node2", zone: "b", address: Ipv4Addr::new(10, 89, 0, 2), pods: Ipv4Addr::new(10, 244, 2, 0) },
];

/// Where endpoints may be: three pods on each node, the nodes themselves, a machine outside the cluster.
pub const ENDPOINTS: [Ipv4Addr; 9] = [
    Ipv4Addr::new(10, 244, 1, 2),
    Ipv4Addr::new(10, 244, 1, 3),
    Ipv4Addr::new(10, 244, 1, 4),
    Ipv4Addr::new(10, 244, 2, 2),
    Ipv4Addr::new(10, 244, 2, 3),
    Ipv4Addr::new(10, 244, 2, 4),
    Ipv4Addr::new(10, 89, 0, 1),
    Ipv4Addr::new(10, 89, 0, 2),
    Ipv4Addr::new(198, 51, 100, 9),
];

/// An address of the first node that its Node object does not tell.
pub const LINK_ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

/// Clients that are no endpoints: a pod on the first node and a machine outside the cluster.
pub const CLIENTS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 244, 1, 9), Ipv4Addr::new(192, 0, 2, 7)];

/// Addresses outside the cluster that Services may claim.
pub const EXTERNAL: [Ipv4Addr; 2] = [Ipv4Addr::new(203, 0, 113, 1), Ipv4Addr::new(203, 0, 113, 2)];

/// The ports endpoints listen on.
pub const TARGET_PORTS: [u16; 2] = [8080, 9090];

/// The same place in the other family: fd00:: with the IPv4 address in its last four bytes.
pub const fn twin(address: Ipv4Addr) -> Ipv6Addr {
    let [a, b, c, d] = address.octets();
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
}

/// The place's address of a family.
pub const fn address_of(family: IpFamily, place: Ipv4Addr) -> IpAddr {
    match family {
        IpFamily::V4 => IpAddr::V4(place),
        IpFamily::V6 => IpAddr::V6(twin(place)),
    }
}

/// The place an address is of.
pub fn place_of(address: IpAddr) -> Ipv4Addr {
    match address {
        IpAddr::V4(place) => place,
        IpAddr::V6(twin) => {
            let [.., a, b, c, d] = twin.octets();
            Ipv4Addr::new(a, b, c, d)
        }
    }
}

/// The places of a range, in a family.
pub fn range_of(family: IpFamily, places: Ipv4Addr, prefix: u8) -> IpNet {
    match family {
        IpFamily::V4 => Ipv4Net::new_assert(places, prefix).into(),
        IpFamily::V6 => Ipv6Net::new_assert(twin(places), 96 + prefix).into(),
    }
}

/// Both families.
pub const FAMILIES: [IpFamily; 2] = [IpFamily::V4, IpFamily::V6];

pub(super) fn sample_node(node: &SampleNode) -> Node {
    Node {
        name: node.name.into(),
        addresses: FAMILIES.map(|family| address_of(family, node.address)).into(),
        pod_cidrs: FAMILIES.map(|family| range_of(family, node.pods, 24)).into(),
        uid: "".into(),
        has_refused_range: false,
        leaving: false,
        created: std::time::Duration::ZERO,
        labels: BTreeMap::from([("topology.kubernetes.io/zone".into(), node.zone.into())]),
    }
}

/// The node an address belongs to.
pub(super) fn node_of(address: Ipv4Addr) -> Option<Name> {
    let on = |node: &&SampleNode| address == node.address || address.octets()[..3] == node.pods.octets()[..3];
    NODES.iter().find(on).map(|node| node.name.into())
}
