//! Where the ends of a tunnel are: the forwarding entries of a VXLAN device.

use std::net::IpAddr;

use nix::errno::Errno;

use super::neighbour::{HEADER_LEN, NDA_DST, NDA_LLADDR, NUD_PERMANENT, RTM_DELNEIGH, RTM_GETNEIGH, RTM_NEWNEIGH};
use super::{LinkIndex, MacAddress, RouteError, Rtnetlink};
use crate::netlink::{Attributes, Message, NetlinkError, flag, parse_address, parse_attributes, parse_u32};

/// Forwarding entries are neighbours of this family (`linux/neighbour.h`).
const AF_BRIDGE: u8 = 7;
/// The entry is the device's own, not that of a bridge it may be a port of.
const NTF_SELF: u8 = 2;

impl Rtnetlink {
    /// Has a VXLAN device send frames for `mac` to the machine at `endpoint`; replaces what was known.
    pub fn set_forwarding(&mut self, link: LinkIndex, mac: MacAddress, endpoint: IpAddr) -> Result<(), RouteError> {
        let mut request = Attributes::append_to(header(link));
        request.put(NDA_LLADDR, &mac.0).address(NDA_DST, endpoint);
        self.socket
            .request(RTM_NEWNEIGH, flag::CREATE | flag::REPLACE, request.as_bytes())
            .map_err(|source| RouteError::SetForwarding { mac, link, source })
    }

    /// Has a VXLAN device forget where `mac` is. Tells whether it knew.
    pub fn delete_forwarding(&mut self, link: LinkIndex, mac: MacAddress) -> Result<bool, RouteError> {
        let mut request = Attributes::append_to(header(link));
        request.put(NDA_LLADDR, &mac.0);
        match self.socket.request(RTM_DELNEIGH, 0, request.as_bytes()) {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.errno(), Some(Errno::ENOENT | Errno::ENODEV)) => Ok(false),
            Err(source) => Err(RouteError::DeleteForwarding { mac, link, source }),
        }
    }

    /// What a VXLAN device knows for good: Ethernet addresses and the machines they are at.
    pub fn forwarding(&mut self, link: LinkIndex) -> Result<Vec<(MacAddress, IpAddr)>, RouteError> {
        self.socket
            .query(RTM_GETNEIGH, flag::DUMP, &header(link), |message| parse(message, link))
            .map_err(|source| RouteError::ReadForwarding { source })
    }
}

/// `struct ndmsg`: family, link, state, flags, type.
fn header(link: LinkIndex) -> Vec<u8> {
    let mut bytes = vec![AF_BRIDGE, 0, 0, 0];
    bytes.extend_from_slice(&link.0.to_ne_bytes());
    bytes.extend_from_slice(&NUD_PERMANENT.to_ne_bytes());
    bytes.extend_from_slice(&[NTF_SELF, 0]);
    bytes
}

fn parse(message: &Message<'_>, wanted: LinkIndex) -> Result<Option<(MacAddress, IpAddr)>, NetlinkError> {
    const SHORT: NetlinkError = NetlinkError::Malformed { what: "a forwarding entry's header" };
    let (fixed, rest) = message.payload.split_at_checked(HEADER_LEN).ok_or(SHORT)?;
    let link = parse_u32(&fixed[4..]).map(LinkIndex).ok_or(SHORT)?;
    let is_permanent = u16::from_ne_bytes([fixed[8], fixed[9]]) & NUD_PERMANENT != 0;
    let (mut mac, mut endpoint) = (None, None);
    for (kind, value) in parse_attributes(rest) {
        match kind {
            NDA_LLADDR => mac = value.try_into().ok().map(MacAddress),
            NDA_DST => endpoint = parse_address(value),
            _ => {}
        }
    }
    Ok(mac.zip(endpoint).filter(|_| is_permanent && link == wanted))
}
