//! Addresses between the nodes; the same in every sandbox, since each has a network of its own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// What the networks are parts of.
pub(super) const RANGES: [IpNet; 2] = [
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(10, 89, 0, 0), 16)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0x10, 0x89, 0, 0, 0, 0, 0), 48)),
];
/// The router's place on every network.
const ROUTER: u8 = 254;

/// The number of the network between the router and the host, beyond those of nodes.
const HOST_NETWORK: u8 = 255;

/// The places of the first and the last load balancer on every network.
const LOAD_BALANCERS: [u8; 2] = [200, 249];

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) fn of(range: &IpNet) -> Self {
        if range.addr().is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// The range of all its addresses.
    pub(super) fn everywhere(self) -> IpNet {
        match self {
            Self::V4 => Ipv4Net::default().into(),
            Self::V6 => Ipv6Net::default().into(),
        }
    }

    /// The setting that lets a machine pass packets on.
    pub(super) const fn forwarding(self) -> &'static str {
        match self {
            Self::V4 => "ipv4/ip_forward",
            Self::V6 => "ipv6/conf/all/forwarding",
        }
    }
}

/// The address of the node at this place of a network, counted from zero, with the network's prefix length.
pub(super) fn node(family: Family, network: u8, place: u8) -> IpNet {
    on(family, network, place + 1)
}

/// The first and the last address of a network for Services of type LoadBalancer: above all nodes.
pub(super) fn load_balancers(family: Family, network: u8) -> (IpAddr, IpAddr) {
    let [first, last] = LOAD_BALANCERS.map(|last| on(family, network, last).addr());
    (first, last)
}

/// The router's address on a network.
pub(super) fn router(family: Family, network: u8) -> IpNet {
    on(family, network, ROUTER)
}

/// The addresses of the pair between host and router: the host's end, then the router's.
pub(super) fn host_ends(family: Family) -> [IpNet; 2] {
    let prefix_len = if family == Family::V4 { 30 } else { 126 };
    [1, 2].map(|last| {
        let address = on(family, HOST_NETWORK, last).addr();
        IpNet::new(address, prefix_len).unwrap_or(address.into())
    })
}

fn on(family: Family, network: u8, last: u8) -> IpNet {
    match family {
        Family::V4 => Ipv4Net::new_assert(Ipv4Addr::new(10, 89, network, last), 24).into(),
        Family::V6 => {
            Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0x10, 0x89, network.into(), 0, 0, 0, last.into()), 64).into()
        }
    }
}
