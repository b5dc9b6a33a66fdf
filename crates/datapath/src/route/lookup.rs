//! Where the kernel would send a packet.

use std::net::IpAddr;

use ipnet::IpNet;
use nix::errno::Errno;

use super::routes::{HEADER_LEN, Parts, RT_TABLE_MAIN, RTA_DST, RTA_OIF, RTM_F_CLONED, RTM_GETROUTE, RTN_UNICAST};
use super::{LinkIndex, RouteError, Rtnetlink};
use crate::netlink::{Attributes, Message, NetlinkError, flag, parse_attributes, parse_u32};

const RTA_MULTIPATH: u16 = 9;
/// Length of `struct rtnexthop`; its attributes follow.
const NEXT_HOP_LEN: usize = 8;

impl Rtnetlink {
    /// The link on which `address` is a neighbour, as far as the kernel's routes say; none when it is farther away,
    /// is the namespace's own, or cannot be reached.
    pub fn link_towards(&mut self, address: IpAddr) -> Result<Option<LinkIndex>, RouteError> {
        let mut header = vec![0; HEADER_LEN];
        header[0] = super::family_number(address);
        header[1] = IpNet::from(address).prefix_len();
        let mut request = Attributes::append_to(header);
        request.address(RTA_DST, address);
        match self.socket.query(RTM_GETROUTE, 0, request.as_bytes(), parse_neighbouring_link) {
            Ok(found) => Ok(found.first().copied()),
            Err(error) if matches!(error.errno(), Some(Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::ENOENT)) => {
                Ok(None)
            }
            Err(source) => Err(RouteError::ReadRoutes { source }),
        }
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

/// The link of a route the kernel chose, when it needs no gateway and leads elsewhere than to this host.
fn parse_neighbouring_link(message: &Message<'_>) -> Result<Option<LinkIndex>, NetlinkError> {
    const SHORT: NetlinkError = NetlinkError::Malformed { what: "a route's header" };
    let (fixed, rest) = message.payload.split_first_chunk::<HEADER_LEN>().ok_or(SHORT)?;
    let [family, .., kind, _, _, _, _] = *fixed;
    let Some(unspecified) = super::unspecified(family).filter(|_| kind == RTN_UNICAST) else { return Ok(None) };
    let mut parts = Parts::new(unspecified, 0);
    parts.read(rest);
    Ok(parts.link.filter(|_| parts.gateway.is_none()))
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
