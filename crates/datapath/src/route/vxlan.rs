//! VXLAN devices (RFC 7348) that learn nothing: where frames go is told them entry by entry.

use std::net::IpAddr;
use std::num::NonZeroU16;

use nix::errno::Errno;

use super::link::{
    IFLA_ADDRESS, IFLA_IFNAME, IFLA_INFO_DATA, IFLA_INFO_KIND, IFLA_LINKINFO, IFLA_MTU, RTM_GETLINK, header,
};
use super::{Link, LinkIndex, MacAddress, RouteError, Rtnetlink};
use crate::netlink::{Attributes, Message, NetlinkError, parse_address, parse_attributes, parse_text, parse_u32};

/// `enum` of `linux/if_link.h`.
const IFLA_VXLAN_ID: u16 = 1;
const IFLA_VXLAN_LOCAL: u16 = 4;
const IFLA_VXLAN_LEARNING: u16 = 7;
const IFLA_VXLAN_PORT: u16 = 15;
const IFLA_VXLAN_LOCAL6: u16 = 17;

/// A VXLAN device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vxlan {
    /// The network identifier (VNI), below 2^24.
    pub network: u32,
    /// The address it sends from.
    pub local: IpAddr,
    /// The UDP port it sends to and receives at.
    pub port: NonZeroU16,
}

impl Vxlan {
    /// The driver's name.
    pub(crate) const KIND: &str = "vxlan";
}

impl Rtnetlink {
    /// Makes a VXLAN device, down, and returns it. Refused with `EEXIST` when the name is taken or another device has the
    /// same network and port, with `EOPNOTSUPP` when the kernel has no VXLAN.
    pub fn create_vxlan(&mut self, name: &str, vxlan: &Vxlan, mac: MacAddress, mtu: u32) -> Result<Link, RouteError> {
        let mut request = Attributes::append_to(header(LinkIndex(0), 0, 0));
        request.text(IFLA_IFNAME, name).u32(IFLA_MTU, mtu).put(IFLA_ADDRESS, &mac.0);
        request.nest(IFLA_LINKINFO, |info| {
            info.text(IFLA_INFO_KIND, Vxlan::KIND).nest(IFLA_INFO_DATA, |data| {
                let local = if vxlan.local.is_ipv4() { IFLA_VXLAN_LOCAL } else { IFLA_VXLAN_LOCAL6 };
                data.u32(IFLA_VXLAN_ID, vxlan.network).address(local, vxlan.local);
                data.u8(IFLA_VXLAN_LEARNING, 0).u16_be(IFLA_VXLAN_PORT, vxlan.port.get());
            });
        });
        self.create_link("VXLAN device (CONFIG_VXLAN)", name, &request)
    }

    /// What the VXLAN device of this name is set to; nothing when there is no such link or it is something else.
    pub fn vxlan(&mut self, name: &str) -> Result<Option<Vxlan>, RouteError> {
        let mut request = Attributes::append_to(header(LinkIndex(0), 0, 0));
        request.text(IFLA_IFNAME, name);
        match self.socket.query(RTM_GETLINK, 0, request.as_bytes(), parse) {
            Ok(found) => Ok(found.into_iter().next()),
            Err(error) if error.errno() == Some(Errno::ENODEV) => Ok(None),
            Err(source) => Err(RouteError::ReadLinks { source }),
        }
    }
}

fn parse(message: &Message<'_>) -> Result<Option<Vxlan>, NetlinkError> {
    /// Length of `struct ifinfomsg`.
    const HEADER_LEN: usize = 16;
    const SHORT: NetlinkError = NetlinkError::Malformed { what: "a link's header" };
    let (_, rest) = message.payload.split_at_checked(HEADER_LEN).ok_or(SHORT)?;
    let (mut is_vxlan, mut network, mut local, mut port) = (false, None, None, None);
    let info = parse_attributes(rest).filter(|(kind, _)| *kind == IFLA_LINKINFO);
    for (kind, value) in info.flat_map(|(_, value)| parse_attributes(value)) {
        match kind {
            IFLA_INFO_KIND => is_vxlan = parse_text(value) == Vxlan::KIND,
            IFLA_INFO_DATA => {
                for (kind, value) in parse_attributes(value) {
                    match kind {
                        IFLA_VXLAN_ID => network = parse_u32(value),
                        IFLA_VXLAN_LOCAL | IFLA_VXLAN_LOCAL6 => local = parse_address(value),
                        IFLA_VXLAN_PORT => {
                            port = value.try_into().ok().map(u16::from_be_bytes).and_then(NonZeroU16::new);
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    let settings = network.zip(local).zip(port).filter(|_| is_vxlan);
    Ok(settings.map(|((network, local), port)| Vxlan { network, local, port }))
}
