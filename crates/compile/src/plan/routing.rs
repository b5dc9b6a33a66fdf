//! How packets for pods get to other nodes.

use std::net::IpAddr;
use std::num::NonZeroU16;

use ipnet::IpNet;

/// Which way packets for pods take to other nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RoutingMode {
    /// As they are, by plain routes: the network between the nodes must know or not mind pods' addresses.
    #[default]
    Native,
    /// Inside packets between the nodes (VXLAN, RFC 7348).
    Vxlan,
    /// As they are to nodes that share a network with this one, inside packets to all others.
    Auto,
}

/// What a node is told of the network between the nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routing {
    /// Which way packets take.
    pub mode: RoutingMode,
    /// The networks this node's links are on.
    pub networks: Vec<LinkNetwork>,
    /// The UDP port of the tunnel, the same on every node.
    pub tunnel_port: NonZeroU16,
    /// Who computes the checksums of what the tunnel carries.
    pub tunnel_checksums: Checksums,
}

/// Who computes the checksums of packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksums {
    /// The hardware that sends them.
    #[default]
    Offloaded,
    /// The kernel: slower, and right also where the hardware does not do what it says.
    Computed,
}

/// A network a link is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkNetwork {
    /// The link's address there, with the prefix length of the network.
    pub address: IpNet,
    /// The largest packet the link carries, in bytes.
    pub mtu: u32,
}

/// The way to an address of another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Native,
    Tunnel,
}

impl Default for Routing {
    /// Plain routes, and for the tunnel the port that belongs to VXLAN (RFC 7348, section 8).
    fn default() -> Self {
        const VXLAN: NonZeroU16 = NonZeroU16::new(4789).unwrap();
        Self {
            mode: RoutingMode::default(),
            networks: Vec::new(),
            tunnel_port: VXLAN,
            tunnel_checksums: Checksums::default(),
        }
    }
}

impl Routing {
    /// What an Ethernet between machines carries (RFC 894), when nothing is known of the link.
    const MTU_ETHERNET: u32 = 1500;

    /// Which way packets for pods take from the node of the addresses `own` to the one that has `address`.
    ///
    /// Nodes share a network when the addresses their Node objects tell are on it. That one of them reaches the other by
    /// a second link is not enough: the other one knows nothing of it and would answer through the tunnel.
    pub(super) fn way_to(&self, own: &[IpAddr], address: IpAddr) -> Way {
        let is_shared =
            |network: &IpNet| network.contains(&address) && own.iter().any(|address| network.contains(address));
        match self.mode {
            RoutingMode::Native => Way::Native,
            RoutingMode::Vxlan => Way::Tunnel,
            RoutingMode::Auto if self.networks.iter().any(|network| is_shared(&network.address)) => Way::Native,
            RoutingMode::Auto => Way::Tunnel,
        }
    }

    /// The largest packet of the link that has `address`.
    pub(super) fn mtu_at(&self, address: IpAddr) -> u32 {
        let own = self.networks.iter().find(|network| network.address.addr() == address);
        own.map_or(Self::MTU_ETHERNET, |network| network.mtu)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routing(mode: RoutingMode) -> Routing {
        let network = |address: &str, mtu| LinkNetwork { address: address.parse().unwrap(), mtu };
        Routing {
            mode,
            networks: vec![network("10.89.0.1/24", 9000), network("fd00::1/64", 1400)],
            ..Routing::default()
        }
    }

    #[test]
    fn only_auto_asks_whether_nodes_are_neighbours() {
        let (near, far) = ("10.89.0.2".parse().unwrap(), "10.89.1.2".parse().unwrap());
        let own = ["10.89.0.1".parse().unwrap()];
        let ways = |mode| (routing(mode).way_to(&own, near), routing(mode).way_to(&own, far));
        assert_eq!(ways(RoutingMode::Auto), (Way::Native, Way::Tunnel));
        assert_eq!(ways(RoutingMode::Native), (Way::Native, Way::Native));
        assert_eq!(ways(RoutingMode::Vxlan), (Way::Tunnel, Way::Tunnel));
    }

    #[test]
    fn a_node_on_a_network_that_is_not_the_one_this_node_is_known_by_is_no_neighbour() {
        let [own, on_second, of_ipv6] = ["10.89.9.1", "10.89.0.2", "fd00::2"].map(|text| text.parse().unwrap());
        let auto = routing(RoutingMode::Auto);
        assert_eq!([on_second, of_ipv6].map(|peer| auto.way_to(&[own], peer)), [Way::Tunnel; 2]);
        assert_eq!(auto.way_to(&[own, "fd00::1".parse().unwrap()], of_ipv6), Way::Native);
        assert_eq!(auto.way_to(&[], on_second), Way::Tunnel);
    }

    #[test]
    fn an_address_has_the_mtu_of_its_own_link() {
        let mtu = |address: &str| routing(RoutingMode::Auto).mtu_at(address.parse().unwrap());
        assert_eq!((mtu("10.89.0.1"), mtu("fd00::1"), mtu("10.89.0.9")), (9000, 1400, 1500));
    }
}
