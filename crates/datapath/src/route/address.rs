//! Addresses of links.

use std::net::IpAddr;

use ipnet::IpNet;
use nix::errno::Errno;

use super::{LinkIndex, RouteError, Rtnetlink};
use crate::netlink::{Attributes, Message, NetlinkError, flag, parse_address, parse_attributes, parse_u32};

/// Message kinds and attributes of `linux/rtnetlink.h` and `linux/if_addr.h`.
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_CACHEINFO: u16 = 6;
const IFA_FLAGS: u16 = 8;
/// No duplicate address detection: ours are unique by construction, and nothing may wait for it.
const IFA_F_NODAD: u32 = 0x02;
/// One the host takes for its own packets only where it has no other (RFC 4862, section 5.5.4).
const IFA_F_DEPRECATED: u8 = 0x20;
/// `struct ifa_cacheinfo` of such an address: preferred for no time, valid for all of it (`INFINITY_LIFE_TIME`), and two
/// times the kernel keeps itself.
const LIFETIMES_DEPRECATED: [u32; 4] = [0, u32::MAX, 0, 0];
/// Length of `struct ifaddrmsg`.
const HEADER_LEN: usize = 8;

impl Rtnetlink {
    /// Gives a link an address. Succeeds when it has it already.
    pub fn add_address(&mut self, link: LinkIndex, address: IpNet) -> Result<(), RouteError> {
        self.set_address(link, address, &addition(address, link))
    }

    /// Gives a link an address that is deprecated: the host is reached at it, and takes another for what it sends where it
    /// has one. An address the link has already becomes so.
    pub fn add_deprecated_address(&mut self, link: LinkIndex, address: IpNet) -> Result<(), RouteError> {
        let mut request = addition(address, link);
        request.put(IFA_CACHEINFO, &LIFETIMES_DEPRECATED.map(u32::to_ne_bytes).concat());
        self.set_address(link, address, &request)
    }

    fn set_address(&mut self, link: LinkIndex, address: IpNet, request: &Attributes) -> Result<(), RouteError> {
        self.socket
            .request(RTM_NEWADDR, flag::CREATE | flag::REPLACE, request.as_bytes())
            .map_err(|source| RouteError::AddAddress { address, link, source })
    }

    /// Takes an address from a link. Tells whether the link had it.
    pub fn delete_address(&mut self, link: LinkIndex, address: IpNet) -> Result<bool, RouteError> {
        let mut request = Attributes::append_to(header(address, link));
        request.address(IFA_LOCAL, address.addr());
        match self.socket.request(RTM_DELADDR, 0, request.as_bytes()) {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.errno(), Some(Errno::EADDRNOTAVAIL | Errno::ENODEV)) => Ok(false),
            Err(source) => Err(RouteError::DeleteAddress { address, link, source }),
        }
    }

    /// All addresses with the links that have them, in the kernel's order.
    pub fn addresses(&mut self) -> Result<Vec<(LinkIndex, IpNet)>, RouteError> {
        self.addresses_with(0)
    }

    /// Those of them that are deprecated.
    pub fn deprecated_addresses(&mut self) -> Result<Vec<(LinkIndex, IpNet)>, RouteError> {
        self.addresses_with(IFA_F_DEPRECATED)
    }

    fn addresses_with(&mut self, flags: u8) -> Result<Vec<(LinkIndex, IpNet)>, RouteError> {
        self.socket
            .query(RTM_GETADDR, flag::DUMP, &[0; HEADER_LEN], |message| parse(message, flags))
            .map_err(|source| RouteError::ReadAddresses { source })
    }
}

fn addition(address: IpNet, link: LinkIndex) -> Attributes {
    let mut request = Attributes::append_to(header(address, link));
    request.address(IFA_LOCAL, address.addr()).address(IFA_ADDRESS, address.addr()).u32(IFA_FLAGS, IFA_F_NODAD);
    request
}

/// `struct ifaddrmsg`: family, prefix length, flags, scope, link.
fn header(address: IpNet, link: LinkIndex) -> Vec<u8> {
    let mut bytes = vec![super::family_number(address.addr()), address.prefix_len(), 0, 0];
    bytes.extend_from_slice(&link.0.to_ne_bytes());
    bytes
}

/// An address that has all of these flags.
fn parse(message: &Message<'_>, flags: u8) -> Result<Option<(LinkIndex, IpNet)>, NetlinkError> {
    const SHORT: NetlinkError = NetlinkError::Malformed { what: "an address's header" };
    let (fixed, rest) = message.payload.split_at_checked(HEADER_LEN).ok_or(SHORT)?;
    let link = parse_u32(&fixed[4..]).map(LinkIndex).ok_or(SHORT)?;
    if fixed[2] & flags != flags {
        return Ok(None);
    }
    let mut local: Option<IpAddr> = None;
    for (kind, value) in parse_attributes(rest) {
        match kind {
            IFA_LOCAL => local = parse_address(value),
            IFA_ADDRESS => local = local.or_else(|| parse_address(value)),
            _ => {}
        }
    }
    Ok(local.and_then(|address| IpNet::new(address, fixed[1]).ok()).map(|address| (link, address)))
}
