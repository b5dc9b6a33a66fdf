//! How packets for pods get to other nodes.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;

use ipnet::IpNet;
use model::IpFamily;

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

/// Why packets for another node's pods go as they are, or through the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// As they are: both nodes are on this network.
    SharedNetwork(IpNet),
    /// As they are: the mode is [`RoutingMode::Native`].
    NativeSet,
    /// Through the tunnel: the mode is [`RoutingMode::Vxlan`].
    VxlanSet,
    /// Through the tunnel: no network has addresses of both nodes.
    NoSharedNetwork,
    /// Through the tunnel: the other node has no address of the family of its pods.
    NoAddress(IpFamily),
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

    /// Which way packets for pods take from the node of the addresses `own` to the one that has `address`, and why.
    ///
    /// Nodes share a network when the addresses their Node objects tell are on it. That one of them reaches the other by
    /// a second link is not enough: the other one knows nothing of it and would answer through the tunnel.
    pub(super) fn reason_for(&self, own: &[IpAddr], address: IpAddr) -> Reason {
        match self.mode {
            RoutingMode::Native => Reason::NativeSet,
            RoutingMode::Vxlan => Reason::VxlanSet,
            RoutingMode::Auto => {
                let shared = self.shared_network(own, address);
                shared.map_or(Reason::NoSharedNetwork, |network| Reason::SharedNetwork(network.address.trunc()))
            }
        }
    }

    /// The network that has `address` and one of `own`.
    fn shared_network(&self, own: &[IpAddr], address: IpAddr) -> Option<&LinkNetwork> {
        self.networks.iter().find(|LinkNetwork { address: network, .. }| {
            network.contains(&address) && own.iter().any(|address| network.contains(address))
        })
    }

    /// The largest packet that goes as it is from the node of the addresses `own` to `address`.
    pub(super) fn native_mtu(&self, own: &[IpAddr], address: IpAddr) -> u32 {
        let of_family = || own.iter().copied().find(|own| IpFamily::of(*own) == IpFamily::of(address));
        let shared = self.shared_network(own, address).map(|network| network.mtu);
        shared.unwrap_or_else(|| of_family().map_or(Self::MTU_ETHERNET, |own| self.mtu_at(own)))
    }

    /// The largest packet of the link that has `address`.
    pub(super) fn mtu_at(&self, address: IpAddr) -> u32 {
        let own = self.networks.iter().find(|network| network.address.addr() == address);
        own.map_or(Self::MTU_ETHERNET, |network| network.mtu)
    }
}

impl Reason {
    /// Whether packets go as they are.
    pub const fn is_native(self) -> bool {
        matches!(self, Self::SharedNetwork(_) | Self::NativeSet)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SharedNetwork(network) => write!(f, "both nodes are on {network}"),
            Self::NativeSet => f.write_str("routing is set to native"),
            Self::VxlanSet => f.write_str("routing is set to vxlan"),
            Self::NoSharedNetwork => f.write_str("no network has both nodes"),
            Self::NoAddress(family) => write!(f, "the other node has no InternalIP of {family}"),
        }
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
        let reasons = |mode| [near, far].map(|peer| routing(mode).reason_for(&own, peer));
        let shared = Reason::SharedNetwork("10.89.0.0/24".parse().unwrap());
        assert_eq!(reasons(RoutingMode::Auto), [shared, Reason::NoSharedNetwork]);
        assert_eq!(reasons(RoutingMode::Native), [Reason::NativeSet; 2]);
        assert_eq!(reasons(RoutingMode::Vxlan), [Reason::VxlanSet; 2]);
    }

    #[test]
    fn a_node_on_a_network_that_is_not_the_one_this_node_is_known_by_is_no_neighbour() {
        let [own, on_second, of_ipv6] = ["10.89.9.1", "10.89.0.2", "fd00::2"].map(|text| text.parse().unwrap());
        let auto = routing(RoutingMode::Auto);
        assert_eq!([on_second, of_ipv6].map(|peer| auto.reason_for(&[own], peer)), [Reason::NoSharedNetwork; 2]);
        let known_by_both = [own, "fd00::1".parse().unwrap()];
        let shared = Reason::SharedNetwork("fd00::/64".parse().unwrap());
        assert_eq!(auto.reason_for(&known_by_both, of_ipv6), shared);
        assert_eq!(auto.reason_for(&[], on_second), Reason::NoSharedNetwork);
    }

    #[test]
    fn an_address_has_the_mtu_of_its_own_link() {
        let mtu = |address: &str| routing(RoutingMode::Auto).mtu_at(address.parse().unwrap());
        assert_eq!((mtu("10.89.0.1"), mtu("fd00::1"), mtu("10.89.0.9")), (9000, 1400, 1500));
    }

    #[test]
    fn what_goes_as_it_is_has_the_mtu_of_the_shared_network_or_of_the_family_that_leads_out() {
        let own = ["10.89.0.1", "fd00::1"].map(|text| text.parse().unwrap());
        let mtu = |to: &str| routing(RoutingMode::Native).native_mtu(&own, to.parse().unwrap());
        assert_eq!((mtu("10.89.0.2"), mtu("fd00::2"), mtu("10.89.1.2"), mtu("fd01::2")), (9000, 1400, 9000, 1400));
        assert_eq!(routing(RoutingMode::Native).native_mtu(&[], "10.89.1.2".parse().unwrap()), 1500);
    }
}
