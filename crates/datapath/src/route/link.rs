//! Links: veth pairs, bridges, and what can be read and changed of any.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use model::MacAddress;
use nix::errno::Errno;

use super::{RouteError, Rtnetlink};
use crate::Netns;
use crate::netlink::{Attributes, Message, NetlinkError, flag, parse_attributes, parse_text, parse_u32};

/// Message kinds and attributes of `linux/rtnetlink.h` and `linux/if_link.h`.
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
pub(super) const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
pub(super) const IFLA_ADDRESS: u16 = 1;
pub(super) const IFLA_IFNAME: u16 = 3;
pub(super) const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
pub(super) const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_INET_CONF: u16 = 1;
/// Of `linux/ip.h`.
const IPV4_DEVCONF_ACCEPT_LOCAL: u16 = 23;
/// Of `linux/socket.h`.
const AF_INET: u16 = 2;
/// Of `linux/net_namespace.h`.
const RTM_GETNSID: u16 = 90;
const NETNSA_NSID: u16 = 1;
const NETNSA_FD: u16 = 3;
/// `NETNSA_NSID_NOT_ASSIGNED`.
const NOT_NUMBERED: u32 = u32::MAX;
/// Length of `struct rtgenmsg`, with what aligns the attributes after it.
const NETNS_HEADER_LEN: usize = 4;
pub(super) const IFLA_INFO_KIND: u16 = 1;
pub(super) const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
pub(super) const IFF_UP: u32 = 1;
const IFF_RUNNING: u32 = 1 << 6;
/// Length of `struct ifinfomsg`.
const HEADER_LEN: usize = 16;

/// The number of a link in its namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkIndex(pub u32);

impl fmt::Display for LinkIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// The number a namespace has in another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetnsNumber(u32);

/// A link as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub index: LinkIndex,
    /// Its name.
    pub name: String,
    /// The largest packet it carries, in bytes.
    pub mtu: u32,
    /// Its Ethernet address, when it has one.
    pub mac: Option<MacAddress>,
    /// Its `ifalias`.
    pub alias: Option<String>,
    /// Whether it is set up.
    pub is_up: bool,
    /// Whether packets pass: it is up, has a carrier (a veth end: when both ends are up) and the kernel has put its
    /// queue to work, which happens a moment after the carrier came. Packets before that are lost.
    pub is_running: bool,
    /// The bridge it is a port of.
    pub controller: Option<LinkIndex>,
    /// The other end of a veth pair, as a number in *its* namespace.
    pub peer: Option<LinkIndex>,
    /// The namespace the other end is in, see [`Rtnetlink::number_of`]; none when it is the same one.
    pub peer_netns: Option<NetnsNumber>,
    /// The driver, e.g. `veth`; none for loopback and hardware.
    pub kind: Option<String>,
}

impl Link {
    /// Whether it carries our mark, see [`Rtnetlink::mark_as_ours`].
    pub fn is_ours(&self) -> bool {
        self.alias.as_ref().is_some_and(|alias| alias.starts_with(crate::OWNER.alias_prefix))
    }
}

/// One end of a veth pair to be made.
#[derive(Clone, Copy, Debug)]
pub struct VethEnd<'a> {
    /// Its name, at most 15 bytes.
    pub name: &'a str,
    /// Its Ethernet address; the kernel draws one when there is none.
    pub mac: Option<MacAddress>,
    /// The namespace it is made in; the connection's own when there is none.
    pub netns: Option<&'a Netns>,
}

/// A veth pair to be made: a cable with two ends, in one namespace or in two.
#[derive(Clone, Copy, Debug)]
pub struct Veth<'a> {
    /// The end the answer of [`Rtnetlink::create_veth`] is about; its `netns` must be the connection's own, none.
    pub end: VethEnd<'a>,
    /// The other end.
    pub peer: VethEnd<'a>,
    /// The largest packet, the same at both ends.
    pub mtu: u32,
}

/// A bridge to be made.
#[derive(Clone, Copy, Debug)]
pub struct Bridge<'a> {
    /// Its name, at most 15 bytes.
    pub name: &'a str,
    /// The largest packet.
    pub mtu: u32,
}

impl Rtnetlink {
    /// Makes a veth pair and returns this end, which is up; the peer is down until its own namespace sets it up.
    ///
    /// Either both ends exist afterwards or none. Refused with `EEXIST` when a name is taken in its namespace.
    pub fn create_veth(&mut self, veth: &Veth<'_>) -> Result<Link, RouteError> {
        let mut request = Attributes::append_to(header(LinkIndex(0), IFF_UP, IFF_UP));
        put_end(&mut request, &veth.end, veth.mtu);
        request.nest(IFLA_LINKINFO, |info| {
            info.text(IFLA_INFO_KIND, "veth").nest(IFLA_INFO_DATA, |data| {
                data.nest(VETH_INFO_PEER, |peer| {
                    peer.raw(&header(LinkIndex(0), 0, 0));
                    put_end(peer, &veth.peer, veth.mtu);
                });
            });
        });
        self.create_link("veth pair", veth.end.name, &request)
    }

    /// Makes a bridge, up, and returns it. Refused with `EEXIST` when the name is taken.
    pub fn create_bridge(&mut self, bridge: &Bridge<'_>) -> Result<Link, RouteError> {
        let mut request = Attributes::append_to(header(LinkIndex(0), IFF_UP, IFF_UP));
        request.text(IFLA_IFNAME, bridge.name).u32(IFLA_MTU, bridge.mtu);
        request.nest(IFLA_LINKINFO, |info| {
            info.text(IFLA_INFO_KIND, "bridge");
        });
        self.create_link("bridge", bridge.name, &request)
    }

    /// Makes an intermediate functional block, up, and returns it: what is redirected to it is shaped by it.
    pub fn create_ifb(&mut self, name: &str) -> Result<Link, RouteError> {
        let mut request = Attributes::append_to(header(LinkIndex(0), IFF_UP, IFF_UP));
        request.text(IFLA_IFNAME, name).nest(IFLA_LINKINFO, |info| {
            info.text(IFLA_INFO_KIND, "ifb");
        });
        self.create_link("intermediate functional block (CONFIG_IFB)", name, &request)
    }

    pub(super) fn create_link(
        &mut self,
        kind: &'static str,
        name: &str,
        request: &Attributes,
    ) -> Result<Link, RouteError> {
        self.socket
            .request(RTM_NEWLINK, flag::CREATE | flag::EXCLUSIVE, request.as_bytes())
            .map_err(|source| RouteError::CreateLink { kind, name: name.to_owned(), source })?;
        self.require_link(name)
    }

    /// All links, in the order of their numbers.
    pub fn links(&mut self) -> Result<Vec<Link>, RouteError> {
        let mut links = self
            .socket
            .query(RTM_GETLINK, flag::DUMP, &header(LinkIndex(0), 0, 0), parse_link)
            .map_err(|source| RouteError::ReadLinks { source })?;
        links.sort_by_key(|link| link.index);
        Ok(links)
    }

    /// The link with this name, if there is one.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>, RouteError> {
        let mut request = Attributes::append_to(header(LinkIndex(0), 0, 0));
        request.text(IFLA_IFNAME, name);
        match self.socket.query(RTM_GETLINK, 0, request.as_bytes(), parse_link) {
            Ok(links) => Ok(links.into_iter().next()),
            Err(error) if error.errno() == Some(Errno::ENODEV) => Ok(None),
            Err(source) => Err(RouteError::ReadLinks { source }),
        }
    }

    /// The link with this name; [`RouteError::NoLink`] when there is none.
    pub fn require_link(&mut self, name: &str) -> Result<Link, RouteError> {
        self.link(name)?.ok_or_else(|| RouteError::NoLink { name: name.to_owned() })
    }

    /// The number that `netns` has in this namespace; none when no link here has its other end there.
    ///
    /// The kernel numbers a namespace when it first [lists](Self::links) such a link.
    pub fn number_of(&mut self, netns: &Netns) -> Result<Option<NetnsNumber>, RouteError> {
        let mut request = Attributes::append_to(vec![0; NETNS_HEADER_LEN]);
        request.put(NETNSA_FD, &netns.as_fd().as_raw_fd().to_ne_bytes());
        let parse = |message: &Message<'_>| {
            let attributes = message.payload.get(NETNS_HEADER_LEN..).unwrap_or_default();
            let number = parse_attributes(attributes).find(|(kind, _)| *kind == NETNSA_NSID);
            Ok(number.and_then(|(_, value)| parse_u32(value)))
        };
        let found = self.socket.query(RTM_GETNSID, 0, request.as_bytes(), parse);
        let found = found.map_err(|source| RouteError::ReadNetnsNumber { source })?;
        Ok(found.first().filter(|number| **number != NOT_NUMBERED).map(|number| NetnsNumber(*number)))
    }

    /// Sets a link up.
    pub fn set_up(&mut self, link: LinkIndex) -> Result<(), RouteError> {
        self.change_link(link, "state up", header(link, IFF_UP, IFF_UP), |_| {})
    }

    /// Waits until packets pass a link, as they do a moment after it and its peer were set up.
    ///
    /// Gives up at `deadline` without an error: what is sent on the link until then may be lost.
    pub fn wait_until_running(&mut self, name: &str, deadline: Duration) -> Result<(), RouteError> {
        const POLL: Duration = Duration::from_micros(200);
        let started = Instant::now();
        while !self.require_link(name)?.is_running && started.elapsed() < deadline {
            #[expect(clippy::disallowed_methods, reason = "this is the poll loop")]
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Sets a link down. Its routes disappear with that.
    pub fn set_down(&mut self, link: LinkIndex) -> Result<(), RouteError> {
        self.change_link(link, "state down", header(link, 0, IFF_UP), |_| {})
    }

    /// Sets the largest packet a link carries.
    pub fn set_mtu(&mut self, link: LinkIndex, mtu: u32) -> Result<(), RouteError> {
        self.change_link(link, "mtu", header(link, 0, 0), |request| {
            request.u32(IFLA_MTU, mtu);
        })
    }

    /// Sets the Ethernet address of a link. What it knows of its neighbours is forgotten with that.
    pub fn set_mac(&mut self, link: LinkIndex, mac: MacAddress) -> Result<(), RouteError> {
        self.change_link(link, "Ethernet address", header(link, 0, 0), |request| {
            request.put(IFLA_ADDRESS, &mac.0);
        })
    }

    /// Marks a link as ours: its `ifalias` becomes our prefix and `purpose`, cut to the 255 bytes the kernel keeps.
    pub fn mark_as_ours(&mut self, link: LinkIndex, purpose: &str) -> Result<(), RouteError> {
        self.set_alias(link, &our_alias(purpose))
    }

    /// [Marks as ours](Self::mark_as_ours) a link of which something else drops what comes under wrong addresses, and
    /// spares it the kernel's own search for packets under the node's (`accept_local`, IPv4).
    ///
    /// Once any range is routed to the node itself, that search is a lookup of the source of every packet
    /// (`fib_validate_source` in `net/ipv4/fib_frontend.c`). `rp_filter` looks it up in any case.
    pub fn mark_as_guarded(&mut self, link: LinkIndex, purpose: &str) -> Result<(), RouteError> {
        self.change_link(link, "alias and settings", header(link, 0, 0), |request| {
            put_alias(request, &our_alias(purpose));
            request.nest(IFLA_AF_SPEC, |families| {
                families.nest(AF_INET, |family| {
                    family.nest(IFLA_INET_CONF, |settings| {
                        settings.u32(IPV4_DEVCONF_ACCEPT_LOCAL, 1);
                    });
                });
            });
        })
    }

    /// Sets the `ifalias` of a link, cut to the 255 bytes the kernel keeps.
    pub fn set_alias(&mut self, link: LinkIndex, alias: &str) -> Result<(), RouteError> {
        self.change_link(link, "alias", header(link, 0, 0), |request| put_alias(request, alias))
    }

    /// Makes `port` a port of `bridge`.
    pub fn enslave(&mut self, port: LinkIndex, bridge: LinkIndex) -> Result<(), RouteError> {
        self.change_link(port, "bridge", header(port, 0, 0), |request| {
            request.u32(IFLA_MASTER, bridge.0);
        })
    }

    /// Moves a link to another namespace, where it arrives down and without addresses.
    pub fn move_link(&mut self, link: LinkIndex, netns: &Netns) -> Result<(), RouteError> {
        self.change_link(link, "namespace", header(link, 0, 0), |request| {
            put_netns(request, netns);
        })
    }

    fn change_link(
        &mut self,
        link: LinkIndex,
        change: &'static str,
        header: Vec<u8>,
        fill: impl FnOnce(&mut Attributes),
    ) -> Result<(), RouteError> {
        let mut request = Attributes::append_to(header);
        fill(&mut request);
        self.socket.request(RTM_SETLINK, 0, request.as_bytes()).map_err(|source| RouteError::ChangeLink {
            link,
            change,
            source,
        })
    }

    /// Deletes a link; with one end of a veth pair goes the other. Tells whether there was one to delete.
    pub fn delete_link(&mut self, link: LinkIndex) -> Result<bool, RouteError> {
        match self.socket.request(RTM_DELLINK, 0, &header(link, 0, 0)) {
            Ok(()) => Ok(true),
            Err(error) if error.errno() == Some(Errno::ENODEV) => Ok(false),
            Err(source) => Err(RouteError::DeleteLink { link, source }),
        }
    }
}

fn put_end(request: &mut Attributes, end: &VethEnd<'_>, mtu: u32) {
    request.text(IFLA_IFNAME, end.name).u32(IFLA_MTU, mtu);
    if let Some(mac) = end.mac {
        request.put(IFLA_ADDRESS, &mac.0);
    }
    if let Some(netns) = end.netns {
        put_netns(request, netns);
    }
}

fn our_alias(purpose: &str) -> String {
    format!("{}{purpose}", crate::OWNER.alias_prefix)
}

fn put_alias(request: &mut Attributes, alias: &str) {
    const ALIAS_MAX: usize = 255;
    request.put(IFLA_IFALIAS, &alias.as_bytes()[..alias.floor_char_boundary(ALIAS_MAX)]);
}

fn put_netns(request: &mut Attributes, netns: &Netns) {
    request.put(IFLA_NET_NS_FD, &netns.as_fd().as_raw_fd().to_ne_bytes());
}

/// `struct ifinfomsg`: family, type, index, flags and which flags to change.
pub(super) fn header(link: LinkIndex, flags: u32, change: u32) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    for field in [link.0, flags, change] {
        bytes.extend_from_slice(&field.to_ne_bytes());
    }
    bytes
}

fn parse_link(message: &Message<'_>) -> Result<Option<Link>, NetlinkError> {
    const SHORT: NetlinkError = NetlinkError::Malformed { what: "a link's header" };
    let (fixed, rest) = message.payload.split_at_checked(HEADER_LEN).ok_or(SHORT)?;
    let index = parse_u32(&fixed[4..]).ok_or(SHORT)?;
    let flags = parse_u32(&fixed[8..]).ok_or(SHORT)?;
    let mut link = Link {
        index: LinkIndex(index),
        name: String::new(),
        mtu: 0,
        mac: None,
        alias: None,
        is_up: flags & IFF_UP != 0,
        is_running: flags & IFF_RUNNING != 0,
        controller: None,
        peer: None,
        peer_netns: None,
        kind: None,
    };
    for (kind, value) in parse_attributes(rest) {
        match kind {
            IFLA_IFNAME => link.name = parse_text(value),
            IFLA_MTU => link.mtu = parse_u32(value).unwrap_or_default(),
            IFLA_ADDRESS => link.mac = value.try_into().ok().map(MacAddress),
            IFLA_IFALIAS => link.alias = Some(parse_text(value)),
            IFLA_MASTER => link.controller = parse_u32(value).map(LinkIndex),
            IFLA_LINK => link.peer = parse_u32(value).map(LinkIndex),
            IFLA_LINK_NETNSID => link.peer_netns = parse_u32(value).map(NetnsNumber),
            IFLA_LINKINFO => {
                link.kind =
                    parse_attributes(value).find(|(kind, _)| *kind == IFLA_INFO_KIND).map(|(_, v)| parse_text(v));
            }
            _ => {}
        }
    }
    Ok(Some(link))
}
