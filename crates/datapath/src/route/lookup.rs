//! Where the kernel would send a packet.

use std::net::IpAddr;

use ipnet::IpNet;
use nix::errno::Errno;

use super::routes::{
    HEADER_LEN, Parts, RT_TABLE_MAIN, RTA_DST, RTA_MULTIPATH, RTA_OIF, RTM_F_CLONED, RTM_GETROUTE, RTN_UNICAST,
};
use super::{LinkIndex, RouteError, Rtnetlink};
use crate::netlink::{Attributes, Message, NetlinkError, flag, parse_attributes, parse_u32};

/// Length of `struct rtnexthop`; its attributes follow.
const NEXT_HOP_LEN: usize = 8;

/// What the kernel says where there is no way: no route or an `unreachable` one, and those of the kinds `blackhole`,
/// `prohibit` and `throw` (`fib_props` of `net/ipv4/fib_semantics.c`, `ip6_rt_init_dst_reject` of `net/ipv6/route.c`).
const NO_WAY: [Errno; 6] =
    [Errno::ENETUNREACH, Errno::EHOSTUNREACH, Errno::ENOENT, Errno::EINVAL, Errno::EACCES, Errno::EAGAIN];

impl Rtnetlink {
    /// The link on which `address` is a neighbour, as far as the kernel's routes say; none when it is farther away,
    /// is the namespace's own, or cannot be reached.
    pub fn link_towards(&mut self, address: IpAddr) -> Result<Option<LinkIndex>, RouteError> {
        Ok(self.path_to(address)?.filter(|path| path.gateway.is_none()).and_then(|path| path.link))
    }

    /// The link by which packets to `address` leave, to it or to a gateway, whatever rules and tables decide that; none
    /// when it is the namespace's own or cannot be reached.
    pub fn link_out_to(&mut self, address: IpAddr) -> Result<Option<LinkIndex>, RouteError> {
        Ok(self.path_to(address)?.and_then(|path| path.link))
    }

    /// The way the kernel would choose now.
    fn path_to(&mut self, address: IpAddr) -> Result<Option<Parts>, RouteError> {
        let mut header = vec![0; HEADER_LEN];
        header[0] = super::family_number(address);
        header[1] = IpNet::from(address).prefix_len();
        let mut request = Attributes::append_to(header);
        request.address(RTA_DST, address);
        match self.socket.query(RTM_GETROUTE, 0, request.as_bytes(), parse_path) {
            Ok(found) => Ok(found.into_iter().next()),
            Err(NetlinkError::Refused(refusal)) if NO_WAY.contains(&refusal.errno) => Ok(None),
            Err(source) => Err(RouteError::ReadRoutes { source }),
        }
    }

    /// Every destination of any route of any table and of both families, with the link when there is one: also the
    /// namespace's own addresses, what is refused, and what several paths lead to.
    pub fn destinations(&mut self) -> Result<Vec<(IpNet, Option<LinkIndex>)>, RouteError> {
        self.socket
            .query(RTM_GETROUTE, flag::DUMP, &[0; HEADER_LEN], parse_destination)
            .map_err(|source| RouteError::ReadRoutes { source })
    }

    /// The links by which packets leave that no narrower route takes: of both families, and of every path of a route
    /// that has several.
    pub fn default_links(&mut self) -> Result<Vec<LinkIndex>, RouteError> {
        let found = self.socket.query(RTM_GETROUTE, flag::DUMP, &[0; HEADER_LEN], parse_default_links);
        let links = found.map_err(|source| RouteError::ReadRoutes { source })?;
        Ok(links.into_iter().flatten().collect())
    }
}

/// The links of a route to everywhere of the main table.
fn parse_default_links(message: &Message<'_>) -> Result<Option<Vec<LinkIndex>>, NetlinkError> {
    const SHORT: NetlinkError = NetlinkError::Malformed { what: "a route's header" };
    let (fixed, rest) = message.payload.split_first_chunk::<HEADER_LEN>().ok_or(SHORT)?;
    let [_, prefix_len, _, _, RT_TABLE_MAIN, _, _, RTN_UNICAST, f0, f1, f2, f3] = *fixed else { return Ok(None) };
    if prefix_len > 0 || u32::from_ne_bytes([f0, f1, f2, f3]) & RTM_F_CLONED != 0 {
        return Ok(None);
    }
    let links = parse_attributes(rest).flat_map(|(kind, value)| match kind {
        RTA_OIF => parse_u32(value).map(LinkIndex).into_iter().collect(),
        RTA_MULTIPATH => links_of_hops(value),
        _ => Vec::new(),
    });
    Ok(Some(links.collect()))
}

/// The links of a list of `struct rtnexthop`: length, flags, weight, link.
fn links_of_hops(mut hops: &[u8]) -> Vec<LinkIndex> {
    let mut links = Vec::new();
    while let Some((hop, _)) = hops.split_first_chunk::<NEXT_HOP_LEN>() {
        let length = usize::from(u16::from_ne_bytes([hop[0], hop[1]]));
        links.extend(parse_u32(&hop[4..]).map(LinkIndex));
        // Without a length of its own a hop would be read for ever.
        hops = hops.get(length.max(NEXT_HOP_LEN).next_multiple_of(4)..).unwrap_or_default();
    }
    links
}

/// A route the kernel chose, when it leads elsewhere than to this host.
fn parse_path(message: &Message<'_>) -> Result<Option<Parts>, NetlinkError> {
    Ok(parse_parts(message)?.filter(|(_, kind, _)| *kind == RTN_UNICAST).map(|(_, _, parts)| parts))
}

fn parse_destination(message: &Message<'_>) -> Result<Option<(IpNet, Option<LinkIndex>)>, NetlinkError> {
    let Some((prefix_len, _, parts)) = parse_parts(message)? else { return Ok(None) };
    Ok(IpNet::new(parts.destination, prefix_len).ok().map(|destination| (destination, parts.link)))
}

/// The prefix length, the kind and the attributes of a route of whatever table.
fn parse_parts(message: &Message<'_>) -> Result<Option<(u8, u8, Parts)>, NetlinkError> {
    const SHORT: NetlinkError = NetlinkError::Malformed { what: "a route's header" };
    let (fixed, rest) = message.payload.split_first_chunk::<HEADER_LEN>().ok_or(SHORT)?;
    let [family, prefix_len, .., kind, _, _, _, _] = *fixed;
    let Some(unspecified) = super::unspecified(family) else { return Ok(None) };
    let mut parts = Parts::new(unspecified, 0);
    parts.read(rest);
    Ok(Some((prefix_len, kind, parts)))
}

#[cfg(test)]
mod tests {
    use super::super::routes::RTM_NEWROUTE;
    use super::*;

    fn hop(link: u32, attributes: &[u8]) -> Vec<u8> {
        let length = u16::try_from(NEXT_HOP_LEN + attributes.len()).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend([0, 0]);
        bytes.extend(link.to_ne_bytes());
        bytes.extend(attributes);
        bytes
    }

    #[test]
    fn every_path_of_a_route_to_everywhere_counts() {
        // A gateway of each hop stands behind it: RTA_GATEWAY, 10.0.0.1.
        let gateway = [8, 0, 5, 0, 10, 0, 0, 1];
        let hops = [hop(7, &gateway), hop(9, &[])].concat();
        let route = |prefix_len: u8| {
            let mut request =
                Attributes::append_to(vec![2, prefix_len, 0, 0, RT_TABLE_MAIN, 3, 0, RTN_UNICAST, 0, 0, 0, 0]);
            request.put(RTA_MULTIPATH, &hops);
            let bytes = request.into_bytes();
            parse_default_links(&Message { kind: RTM_NEWROUTE, flags: 0, sequence: 0, payload: &bytes }).unwrap()
        };
        assert_eq!(route(0), Some(vec![LinkIndex(7), LinkIndex(9)]));
        assert_eq!(route(8), None);
        assert_eq!(links_of_hops(&[0; NEXT_HOP_LEN]), [LinkIndex(0)]);
    }
}
