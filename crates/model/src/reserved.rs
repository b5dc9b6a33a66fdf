//! Ranges of addresses that are set aside for something else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// What neither a pod nor a Service can have an address of, and what that is.
pub const RESERVED_RANGES: [(IpNet, &str); 8] = [
    (v4(0, 0, 8), "addresses of no machine"),
    (v4(127, 0, 8), "loopback addresses"),
    (v4(169, 254, 16), "link-local addresses, where the pods' gateway is"),
    (v4(224, 0, 4), "multicast groups"),
    (v4(240, 0, 4), "addresses kept for later"),
    (v6(0, 8), "where the loopback address is"),
    (v6(0xfe80, 10), "link-local addresses"),
    (v6(0xff00, 8), "multicast groups"),
];

const fn v4(first: u8, second: u8, prefix: u8) -> IpNet {
    IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(first, second, 0, 0)), prefix)
}

const fn v6(first: u16, prefix: u8) -> IpNet {
    IpNet::new_assert(IpAddr::V6(Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0)), prefix)
}

/// What `range` overlaps of which neither a pod nor a Service can have an address, and what that is.
pub fn reserved_part(range: IpNet) -> Option<(IpNet, &'static str)> {
    RESERVED_RANGES.into_iter().find(|(reserved, _)| range.contains(reserved) || reserved.contains(&range))
}
