//! Groups that questions of IPv6 are sent to.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv6Addr, UdpSocket};

use crate::route::LinkIndex;

/// The solicited-node groups (RFC 4291, 2.7.1) of some addresses on one link.
///
/// A raw socket hears all groups, but switches that snoop (RFC 4541) send a group only to where a listener has reported
/// itself. The kernel reports the members of this socket, and their end when it is closed.
#[derive(Debug)]
pub struct SolicitedGroups {
    link: LinkIndex,
    socket: UdpSocket,
    joined: BTreeSet<Ipv6Addr>,
}

impl SolicitedGroups {
    /// None yet, on a link.
    pub fn open(link: LinkIndex) -> io::Result<Self> {
        Ok(Self { link, socket: UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?, joined: BTreeSet::new() })
    }

    /// Makes the groups those of these addresses; IPv4 has none. What cannot be joined or left is tried again with the next
    /// call, and the first error told.
    pub fn follow(&mut self, addresses: impl Iterator<Item = IpAddr>) -> io::Result<()> {
        let wanted: BTreeSet<Ipv6Addr> = addresses.filter_map(group_of).collect();
        let mut outcome = Ok(());
        for group in wanted.symmetric_difference(&self.joined.clone()) {
            let is_new = wanted.contains(group);
            let change = match is_new {
                true => self.socket.join_multicast_v6(group, self.link.0),
                false => self.socket.leave_multicast_v6(group, self.link.0),
            };
            match change {
                Ok(()) if is_new => drop(self.joined.insert(*group)),
                Ok(()) => drop(self.joined.remove(group)),
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        outcome
    }
}

fn group_of(address: IpAddr) -> Option<Ipv6Addr> {
    match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => Some(solicited_node(address)),
    }
}

/// The group that questions for an address are sent to.
pub(super) const fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::from_octets([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}
