//! The tunnel to nodes that plain routes do not reach: one VXLAN (RFC 7348) over all nodes of the cluster.
//!
//! Nothing is exchanged or learned: every node computes what it must know of the others from their Node objects. A
//! node's end of the tunnel has an Ethernet address made from the node's own, and there answers one gateway for each
//! family.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU16;

use ipnet::IpNet;
use model::{IpFamily, MacAddress, Node, fnv1a};

use super::{Checksums, Routing};

/// The name of a node's end of the tunnel among its links.
pub const TUNNEL_DEVICE: &str = "fw-vxlan";
/// The number of our network among the VXLANs of the machines.
const NETWORK_IDENTIFIER: u32 = 117;
/// What a packet grows by in the tunnel: the other packet's Ethernet, VXLAN, UDP and IP headers.
const OVERHEAD_V4: u32 = 14 + 8 + 8 + 20;
const OVERHEAD_V6: u32 = 14 + 8 + 8 + 40;
/// The smallest packet a link of IPv6 must carry whole (RFC 8200, section 5).
const IPV6_MINIMUM_MTU: u32 = 1280;

/// One node's end of the tunnel, and what it knows of the other nodes'.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// The network identifier (VNI).
    pub network: u32,
    /// This node's address, from which it sends.
    pub endpoint: IpAddr,
    /// Its Ethernet address.
    pub mac: MacAddress,
    /// The UDP port all nodes receive at.
    pub port: NonZeroU16,
    /// The largest packet it carries.
    pub mtu: u32,
    /// Who computes the checksums of what it carries.
    pub checksums: Checksums,
    /// Its addresses: what the node itself sends to pods behind the tunnel comes from these, so that answers take the
    /// same way back. The first of each range of this node's pods, which no pod gets.
    pub addresses: BTreeSet<IpAddr>,
    /// Gateways on the tunnel and the ends that answer for them.
    pub neighbours: BTreeMap<IpAddr, MacAddress>,
    /// The nodes' addresses by their ends.
    pub forwarding: BTreeMap<MacAddress, IpAddr>,
}

impl Tunnel {
    /// This node's end, which knows no other yet, for pods of these families; none while the node has no address.
    pub(super) fn of(own: &Node, routing: &Routing, pods: &BTreeSet<IpFamily>) -> Option<Self> {
        let endpoint = endpoint(own, None)?;
        let overhead = if endpoint.is_ipv4() { OVERHEAD_V4 } else { OVERHEAD_V6 };
        // The kernel has IPv6 on no smaller link; where the nodes' carries less, it sends what does not fit in fragments.
        let has_ipv6 = endpoint.is_ipv6() || pods.contains(&IpFamily::V6);
        let least = if has_ipv6 { IPV6_MINIMUM_MTU } else { 0 };
        Some(Self {
            network: NETWORK_IDENTIFIER,
            endpoint,
            mac: mac(endpoint),
            port: routing.tunnel_port,
            mtu: routing.mtu_at(endpoint).saturating_sub(overhead).max(least),
            checksums: routing.tunnel_checksums,
            addresses: own.pod_cidrs.iter().map(IpNet::network).collect(),
            neighbours: BTreeMap::new(),
            forwarding: BTreeMap::new(),
        })
    }

    /// Lets a node's pods be reached and returns the gateway to them and the node's end; none when the node has no
    /// address of the family the tunnel is in.
    pub(super) fn add_peer(&mut self, peer: &Node, pods: IpNet) -> Option<(IpAddr, IpAddr)> {
        let endpoint = endpoint(peer, Some(IpFamily::of(self.endpoint)))?;
        let mac = mac(endpoint);
        let gateway = match (IpFamily::of(pods.network()), endpoint) {
            // Not one of the pods' range: the kernel refuses a gateway of a range that, as a whole, leads to this node.
            (IpFamily::V4, IpAddr::V4(_)) => endpoint,
            // Any other of IPv6 the kernel refuses when it is a neighbour on another link. It leads to pods of IPv4 too,
            // where nodes have no address that could (RFC 5549).
            (IpFamily::V6, _) | (IpFamily::V4, IpAddr::V6(_)) => link_local(mac),
        };
        self.neighbours.insert(gateway, mac);
        self.forwarding.insert(mac, endpoint);
        Some((gateway, endpoint))
    }
}

/// The address of a node at which its tunnel ends: of the family asked for, else that of IPv4 if there is one, which is
/// shorter.
fn endpoint(node: &Node, family: Option<IpFamily>) -> Option<IpAddr> {
    match family {
        Some(family) => address_of(node, family),
        None => address_of(node, IpFamily::V4).or_else(|| address_of(node, IpFamily::V6)),
    }
}

fn address_of(node: &Node, family: IpFamily) -> Option<IpAddr> {
    node.addresses.iter().copied().find(|address| IpFamily::of(*address) == family)
}

/// The Ethernet address of a tunnel's end, in the space for local use (IEEE 802, 8.2). It contains an IPv4 address; of
/// an IPv6 address 40 bits of a digest, by which two of a thousand nodes would be taken for one once in two million
/// clusters.
fn mac(endpoint: IpAddr) -> MacAddress {
    match endpoint {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            MacAddress([0x02, 0xf4, a, b, c, d])
        }
        IpAddr::V6(address) => {
            let [.., a, b, c, d, e] = fnv1a(&address.octets()).to_be_bytes();
            MacAddress([0x06, a, b, c, d, e])
        }
    }
}

/// The link-local address that belongs to an Ethernet address (RFC 4291, appendix A).
fn link_local(mac: MacAddress) -> IpAddr {
    let MacAddress([a, b, c, d, e, f]) = mac;
    let identifier = [a ^ 2, b, c, 0xff, 0xfe, d, e, f];
    Ipv6Addr::from((0xfe80_u128 << 112) | u128::from(u64::from_be_bytes(identifier))).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::LinkNetwork;

    fn node(addresses: &[&str], pods: &[&str]) -> Node {
        Node {
            name: "n".into(),
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            pod_cidrs: pods.iter().map(|text| text.parse().unwrap()).collect(),
            uid: "".into(),
            has_refused_range: false,
            leaving: false,
            created: std::time::Duration::ZERO,
            labels: BTreeMap::new(),
        }
    }

    static BOTH: std::sync::LazyLock<BTreeSet<IpFamily>> =
        std::sync::LazyLock::new(|| [IpFamily::V4, IpFamily::V6].into());

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_dual_stack_peer_has_one_end_and_a_gateway_for_each_range() {
        let own = node(&["10.89.0.1", "fd00::1"], &["10.244.1.0/24", "fd00:10:1::/64"]);
        let network = LinkNetwork { address: "10.89.0.1/24".parse().unwrap(), mtu: 1500 };
        let mut tunnel = Tunnel::of(&own, &Routing { networks: vec![network], ..Routing::default() }, &BOTH).unwrap();
        assert_eq!((tunnel.endpoint, tunnel.mtu), (ip("10.89.0.1"), 1450));
        assert_eq!(tunnel.addresses, [ip("10.244.1.0"), ip("fd00:10:1::")].into());
        let peer = node(&["fd00::2", "10.89.1.2"], &[]);
        let ways = ["10.244.2.0/24", "fd00:10:2::/64"].map(|pods| tunnel.add_peer(&peer, pods.parse().unwrap()));
        let end = ip("10.89.1.2");
        assert_eq!(ways, [Some((ip("10.89.1.2"), end)), Some((ip("fe80::f4:aff:fe59:102"), end))]);
        let mac = MacAddress([0x02, 0xf4, 10, 89, 1, 2]);
        assert_eq!(tunnel.forwarding, [(mac, ip("10.89.1.2"))].into());
        assert_eq!(tunnel.neighbours.values().copied().collect::<Vec<_>>(), [mac, mac]);
    }

    #[test]
    fn a_tunnel_that_carries_ipv6_takes_the_packets_every_link_of_ipv6_must() {
        let small = |own: &str| {
            let network = LinkNetwork { address: own.parse().unwrap(), mtu: 1280 };
            (node(&[own.split_once('/').unwrap().0], &[]), Routing { networks: vec![network], ..Routing::default() })
        };
        let mtu = |own: &str, pods: &[IpFamily]| {
            let (own, routing) = small(own);
            Tunnel::of(&own, &routing, &pods.iter().copied().collect()).unwrap().mtu
        };
        assert_eq!(mtu("10.89.0.1/24", &[IpFamily::V4]), 1230);
        assert_eq!(mtu("10.89.0.1/24", &[IpFamily::V4, IpFamily::V6]), 1280);
        assert_eq!(mtu("fd00::1/64", &[IpFamily::V4]), 1280);
    }

    #[test]
    fn pods_of_ipv4_are_reached_between_nodes_of_ipv6_alone() {
        let mut tunnel = Tunnel::of(&node(&["fd00::1"], &["10.244.1.0/24"]), &Routing::default(), &BOTH).unwrap();
        let peers = [node(&["fd00::2"], &[]), node(&["10.89.1.2", "fd00::2"], &[])];
        let end = ip("fd00::2");
        let way = Some((link_local(mac(end)), end));
        assert_eq!(peers.map(|peer| tunnel.add_peer(&peer, "10.244.2.0/24".parse().unwrap())), [way; 2]);
        assert_eq!((tunnel.neighbours.len(), &tunnel.forwarding), (1, &[(mac(end), end)].into()));
        assert_eq!(tunnel.addresses, [ip("10.244.1.0")].into());
    }

    #[test]
    fn a_node_of_ipv6_tunnels_in_it_and_reaches_no_node_without() {
        let mut tunnel = Tunnel::of(&node(&["fd00::1"], &["fd00:10:1::/64"]), &Routing::default(), &BOTH).unwrap();
        assert_eq!((tunnel.mtu, tunnel.mac.0[0]), (1430, 0x06));
        assert_eq!(tunnel.add_peer(&node(&["10.89.1.2"], &[]), "10.244.2.0/24".parse().unwrap()), None);
        assert!(tunnel.forwarding.is_empty() && tunnel.neighbours.is_empty());
        assert_ne!(mac(ip("fd00::1")), mac(ip("fd00::2")));
        assert_eq!(Tunnel::of(&node(&[], &[]), &Routing::default(), &BOTH), None);
    }
}
