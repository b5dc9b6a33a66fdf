//! Permanent neighbours: who answers for an address on a link, said once instead of asked.

use std::net::IpAddr;

use nix::errno::Errno;

use super::{LinkIndex, MacAddress, RouteError, Rtnetlink};
use crate::netlink::{Attributes, Message, NetlinkError, flag, parse_address, parse_attributes, parse_u32};

/// Message kinds and attributes of `linux/rtnetlink.h` and `linux/neighbour.h`.
pub(super) const RTM_NEWNEIGH: u16 = 28;
pub(super) const RTM_DELNEIGH: u16 = 29;
pub(super) const RTM_GETNEIGH: u16 = 30;
pub(super) const NDA_DST: u16 = 1;
pub(super) const NDA_LLADDR: u16 = 2;
pub(super) const NUD_PERMANENT: u16 = 0x80;
/// Length of `struct ndmsg`.
pub(super) const HEADER_LEN: usize = 12;

impl Rtnetlink {
    /// Makes `mac` answer for `address` on `link`, for good; replaces what was known.
    pub fn set_neighbour(&mut self, link: LinkIndex, address: IpAddr, mac: MacAddress) -> Result<(), RouteError> {
        let mut request = Attributes::append_to(header(address, link));
        request.address(NDA_DST, address).put(NDA_LLADDR, &mac.0);
        self.socket
            .request(RTM_NEWNEIGH, flag::CREATE | flag::REPLACE, request.as_bytes())
            .map_err(|source| RouteError::SetNeighbour { address, link, source })
    }

    /// Forgets who answers for `address` on `link`. Tells whether it was known.
    pub fn delete_neighbour(&mut self, link: LinkIndex, address: IpAddr) -> Result<bool, RouteError> {
        let mut request = Attributes::append_to(header(address, link));
        request.address(NDA_DST, address);
        match self.socket.request(RTM_DELNEIGH, 0, request.as_bytes()) {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.errno(), Some(Errno::ENOENT | Errno::ENODEV)) => Ok(false),
            Err(source) => Err(RouteError::DeleteNeighbour { address, link, source }),
        }
    }

    /// The permanent neighbours, in the kernel's order.
    pub fn permanent_neighbours(&mut self) -> Result<Vec<(LinkIndex, IpAddr, MacAddress)>, RouteError> {
        self.socket
            .query(RTM_GETNEIGH, flag::DUMP, &[0; HEADER_LEN], parse)
            .map_err(|source| RouteError::ReadNeighbours { source })
    }
}

/// `struct ndmsg`: family, link, state, flags, type.
fn header(address: IpAddr, link: LinkIndex) -> Vec<u8> {
    let mut bytes = vec![super::family_number(address), 0, 0, 0];
    bytes.extend_from_slice(&link.0.to_ne_bytes());
    bytes.extend_from_slice(&NUD_PERMANENT.to_ne_bytes());
    bytes.extend_from_slice(&[0; 2]);
    bytes
}

fn parse(message: &Message<'_>) -> Result<Option<(LinkIndex, IpAddr, MacAddress)>, NetlinkError> {
    const SHORT: NetlinkError = NetlinkError::Malformed { what: "a neighbour's header" };
    let (fixed, rest) = message.payload.split_at_checked(HEADER_LEN).ok_or(SHORT)?;
    let link = parse_u32(&fixed[4..]).map(LinkIndex).ok_or(SHORT)?;
    let (mut address, mut mac) = (None, None);
    for (kind, value) in parse_attributes(rest) {
        match kind {
            NDA_DST => address = parse_address(value),
            NDA_LLADDR => mac = value.try_into().ok().map(MacAddress),
            _ => {}
        }
    }
    let is_permanent = u16::from_ne_bytes([fixed[8], fixed[9]]) & NUD_PERMANENT != 0;
    Ok(address.zip(mac).filter(|_| is_permanent).map(|(address, mac)| (link, address, mac)))
}
