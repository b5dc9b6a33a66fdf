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
const IFA_FLAGS: u16 = 8;
/// No duplicate address detection: ours are unique by construction, and nothing may wait for it.
const IFA_F_NODAD: u32 = 0x02;
/// Length of `struct ifaddrmsg`.
const HEADER_LEN: usize = 8;

impl Rtnetlink {
    /// Gives a link an address. Succeeds when it has it already.
    pub fn add_address(&mut self, link: LinkIndex, address: IpNet) -> Result<(), RouteError> {
        let mut request = Attributes::append_to(header(address, link));
        request.address(IFA_LOCAL, address.addr()).address(IFA_ADDRESS, address.addr()).u32(IFA_FLAGS, IFA_F_NODAD);
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
        self.socket
            .query(RTM_GETADDR, flag::DUMP, &[0; HEADER_LEN], parse)
            .map_err(|source| RouteError::ReadAddresses { source })
    }
}

/// `struct ifaddrmsg`: family, prefix length, flags, scope, link.
fn header(address: IpNet, link: LinkIndex) -> Vec<u8> {
    let mut bytes = vec![super::family_number(address.addr()), address.prefix_len(), 0, 0];
    bytes.extend_from_slice(&link.0.to_ne_bytes());
    bytes
}

fn parse(message: &Message<'_>) -> Result<Option<(LinkIndex, IpNet)>, NetlinkError> {
    const SHORT: NetlinkError = NetlinkError::Malformed { what: "an address's header" };
    let (fixed, rest) = message.payload.split_at_checked(HEADER_LEN).ok_or(SHORT)?;
    let link = parse_u32(&fixed[4..]).map(LinkIndex).ok_or(SHORT)?;
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
