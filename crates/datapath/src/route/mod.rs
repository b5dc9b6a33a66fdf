//! Links, addresses, routes and neighbours of one network namespace, over rtnetlink.

mod address;
mod error;
mod forwarding;
mod link;
mod lookup;
mod neighbour;
#[expect(unsafe_code, reason = "an ioctl that follows a pointer")]
mod offload;
mod routes;
mod shaping;
mod vxlan;

pub use error::RouteError;
pub use link::{Bridge, Link, LinkIndex, NetnsNumber, Veth, VethEnd};
pub use model::MacAddress;
pub use routes::{Route, RouteAction, RouteFilter, RouteOrigin, RouteRank};
pub use shaping::RateLimit;
pub use vxlan::Vxlan;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::Netns;
use crate::netlink::{Family, NetlinkError, Socket};

/// A connection to the links and routes of one network namespace, the one it was opened in, whatever thread uses it.
#[derive(Debug)]
pub struct Rtnetlink {
    socket: Socket,
    /// For what is not asked by netlink; of the same namespace.
    control: OwnedFd,
}

impl Rtnetlink {
    /// Connects to the calling thread's namespace.
    pub fn open() -> Result<Self, NetlinkError> {
        let control = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None);
        let control = control.map_err(|source| NetlinkError::Open { family: "control", source: source.into() })?;
        Ok(Self { socket: Socket::open(Family::Route)?, control })
    }

    /// Connects to `netns`.
    pub fn open_in(netns: &Netns) -> Result<Self, RouteError> {
        netns.run(Self::open)?.map_err(|source| RouteError::Connect { source })
    }
}

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

fn family_number(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => AF_INET,
        IpAddr::V6(_) => AF_INET6,
    }
}

fn unspecified(family: u8) -> Option<IpAddr> {
    match family {
        AF_INET => Some(Ipv4Addr::UNSPECIFIED.into()),
        AF_INET6 => Some(Ipv6Addr::UNSPECIFIED.into()),
        _ => None,
    }
}
