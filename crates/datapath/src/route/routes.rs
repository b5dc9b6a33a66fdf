//! Routes of the main table.

use std::net::IpAddr;

use ipnet::IpNet;
use nix::errno::Errno;

use super::{LinkIndex, RouteError, Rtnetlink};
use crate::OWNER;
use crate::netlink::{Attributes, Message, NetlinkError, flag, parse_address, parse_attributes, parse_u32};

/// Message kinds, attributes and values of `linux/rtnetlink.h`.
pub(super) const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
pub(super) const RTM_GETROUTE: u16 = 26;
pub(super) const RTA_DST: u16 = 1;
pub(super) const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RTA_METRICS: u16 = 8;
pub(super) const RTA_MULTIPATH: u16 = 9;
const RTA_TABLE: u16 = 15;
const RTA_VIA: u16 = 18;
const RTAX_MTU: u16 = 2;
pub(super) const RT_TABLE_MAIN: u8 = 254;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_LINK: u8 = 253;
const RT_SCOPE_HOST: u8 = 254;
const RTPROT_STATIC: u8 = 4;
pub(super) const RTN_UNICAST: u8 = 1;
const RTN_LOCAL: u8 = 2;
const RTN_BLACKHOLE: u8 = 6;
const RTN_UNREACHABLE: u8 = 7;
const RTNH_F_ONLINK: u32 = 4;
/// The metric of [`RouteAction::Local`] routes: behind every other route to the same range, such as that of a bridge
/// which another network plugin has left.
const LOCAL_METRIC: u32 = 1 << 20;
/// The metric of [`RouteRank::BehindOthers`]. Before routes that are [`RouteAction::Local`].
const NODE_METRIC: u32 = 1 << 19;
/// The loopback interface has this number in every namespace (`LOOPBACK_IFINDEX`).
const LOOPBACK: LinkIndex = LinkIndex(1);
/// `RTM_F_CLONED`: a cache entry, not a route.
pub(super) const RTM_F_CLONED: u32 = 0x200;
/// Length of `struct rtmsg`.
pub(super) const HEADER_LEN: usize = 12;

/// A route of the main table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    /// Where it leads.
    pub destination: IpNet,
    /// What happens to a packet that takes it.
    pub action: RouteAction,
    /// The source address the host itself uses on it.
    pub source: Option<IpAddr>,
    /// The largest packet on this path, when smaller than the link's.
    pub mtu: Option<u32>,
    /// Who made it.
    pub origin: RouteOrigin,
    /// Its place among routes to the same destination.
    pub rank: RouteRank,
}

/// The place of a route among others to the same destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteRank {
    /// Where the kernel puts it; for [`RouteAction::Local`] last of all.
    #[default]
    Usual,
    /// Behind the usual ones of others, which are then neither replaced nor missing when ours go.
    BehindOthers,
}

/// Who made a route: its `rtm_protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteOrigin {
    /// Fairway's network: the agent and the CNI plugin ([`OWNER`]). The agent removes those it has no plan for.
    Ours,
    /// Whoever set up the machine, once and for all (`RTPROT_STATIC`).
    Static,
    /// Somebody else, by number.
    Other(u8),
}

impl RouteOrigin {
    const fn protocol(self) -> u8 {
        match self {
            Self::Ours => OWNER.route_protocol,
            Self::Static => RTPROT_STATIC,
            Self::Other(protocol) => protocol,
        }
    }

    const fn of(protocol: u8) -> Self {
        match protocol {
            protocol if protocol == OWNER.route_protocol => Self::Ours,
            RTPROT_STATIC => Self::Static,
            protocol => Self::Other(protocol),
        }
    }
}

/// What happens to a packet that takes a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteAction {
    /// The destination is on this link.
    Link(LinkIndex),
    /// The next hop, found on a link by the other routes.
    Via {
        /// The next hop.
        gateway: IpAddr,
        /// The link to it.
        link: LinkIndex,
        /// Whether the gateway is taken to be on the link though no route says so.
        on_link: bool,
    },
    /// Any of several next hops, which are not told (ECMP). Such routes are read and deleted, not made.
    Multipath,
    /// Taken as the host's own, when no other route leads to the same destination.
    Local,
    /// Dropped without a word.
    Blackhole,
    /// Refused with an ICMP error.
    Unreachable,
}

/// Which routes to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteFilter {
    /// Those of the main table that carry our protocol number.
    Ours,
    /// All of the main table.
    Main,
}

impl Route {
    /// A static route.
    pub const fn new(destination: IpNet, action: RouteAction) -> Self {
        Self { destination, action, source: None, mtu: None, origin: RouteOrigin::Static, rank: RouteRank::Usual }
    }

    /// A static route to a destination on a link.
    pub const fn on_link(destination: IpNet, link: LinkIndex) -> Self {
        Self::new(destination, RouteAction::Link(link))
    }

    /// A static route to a destination behind `gateway`, which the other routes must lead to.
    pub const fn via(destination: IpNet, gateway: IpAddr, link: LinkIndex) -> Self {
        Self::new(destination, RouteAction::Via { gateway, link, on_link: false })
    }

    /// The same route as one of our own network.
    #[must_use]
    pub const fn ours(self) -> Self {
        Self { origin: RouteOrigin::Ours, ..self }
    }

    /// The same route, which gives way to others.
    #[must_use]
    pub const fn behind_others(self) -> Self {
        Self { rank: RouteRank::BehindOthers, ..self }
    }
}

impl Rtnetlink {
    /// Makes `route` the way to its destination; replaces another way to exactly the same destination.
    pub fn replace_route(&mut self, route: &Route) -> Result<(), RouteError> {
        self.socket
            .request(RTM_NEWROUTE, flag::CREATE | flag::REPLACE, &request(route))
            .map_err(|source| RouteError::SetRoute { destination: route.destination, source })
    }

    /// Adds `route`. Refused with `EEXIST` when there is another way to exactly the same destination.
    pub fn add_route(&mut self, route: &Route) -> Result<(), RouteError> {
        self.socket
            .request(RTM_NEWROUTE, flag::CREATE | flag::EXCLUSIVE, &request(route))
            .map_err(|source| RouteError::SetRoute { destination: route.destination, source })
    }

    /// Deletes the route that equals `route` in destination, action and origin. Tells whether there was one.
    pub fn delete_route(&mut self, route: &Route) -> Result<bool, RouteError> {
        let bare = Route { source: None, mtu: None, ..route.clone() };
        match self.socket.request(RTM_DELROUTE, 0, &request(&bare)) {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.errno(), Some(Errno::ESRCH | Errno::ENODEV)) => Ok(false),
            Err(source) => Err(RouteError::DeleteRoute { destination: route.destination, source }),
        }
    }

    /// The routes of the main table of both families, in the kernel's order.
    pub fn routes(&mut self, filter: RouteFilter) -> Result<Vec<Route>, RouteError> {
        self.socket
            .query(RTM_GETROUTE, flag::DUMP, &[0; HEADER_LEN], |message| parse(message, filter))
            .map_err(|source| RouteError::ReadRoutes { source })
    }
}

fn request(route: &Route) -> Vec<u8> {
    let mut request = Attributes::append_to(header(route));
    let destination = route.destination.trunc();
    if destination.prefix_len() > 0 {
        request.address(RTA_DST, destination.addr());
    }
    match route.action {
        RouteAction::Link(link) => {
            request.u32(RTA_OIF, link.0);
        }
        RouteAction::Via { gateway, link, .. } => {
            if gateway.is_ipv4() == destination.addr().is_ipv4() {
                request.address(RTA_GATEWAY, gateway);
            } else {
                request.put(RTA_VIA, &via(gateway));
            }
            request.u32(RTA_OIF, link.0);
        }
        RouteAction::Local => {
            request.u32(RTA_OIF, LOOPBACK.0);
        }
        RouteAction::Multipath | RouteAction::Blackhole | RouteAction::Unreachable => {}
    }
    if let Some(metric) = metric(route) {
        request.u32(RTA_PRIORITY, metric);
    }
    if let Some(source) = route.source {
        request.address(RTA_PREFSRC, source);
    }
    if let Some(mtu) = route.mtu {
        request.nest(RTA_METRICS, |metrics| {
            metrics.u32(RTAX_MTU, mtu);
        });
    }
    request.into_bytes()
}

/// `struct rtvia`, a gateway of another family than the destination's: its family and address. Linux 5.2.
fn via(gateway: IpAddr) -> Vec<u8> {
    let mut bytes = u16::from(super::family_number(gateway)).to_ne_bytes().to_vec();
    match gateway {
        IpAddr::V4(address) => bytes.extend(address.octets()),
        IpAddr::V6(address) => bytes.extend(address.octets()),
    }
    bytes
}

/// The metric of routes that must give way to others'.
const fn metric(route: &Route) -> Option<u32> {
    match (route.action, route.rank) {
        (RouteAction::Local, _) => Some(LOCAL_METRIC),
        (_, RouteRank::BehindOthers) => Some(NODE_METRIC),
        (_, RouteRank::Usual) => None,
    }
}

/// `struct rtmsg`: family, two prefix lengths, TOS, table, protocol, scope, type, flags.
fn header(route: &Route) -> Vec<u8> {
    let (scope, kind, flags) = match route.action {
        RouteAction::Link(_) => (RT_SCOPE_LINK, RTN_UNICAST, 0),
        RouteAction::Via { on_link, .. } => (RT_SCOPE_UNIVERSE, RTN_UNICAST, if on_link { RTNH_F_ONLINK } else { 0 }),
        RouteAction::Multipath => (RT_SCOPE_UNIVERSE, RTN_UNICAST, 0),
        RouteAction::Local => (RT_SCOPE_HOST, RTN_LOCAL, 0),
        RouteAction::Blackhole => (RT_SCOPE_UNIVERSE, RTN_BLACKHOLE, 0),
        RouteAction::Unreachable => (RT_SCOPE_UNIVERSE, RTN_UNREACHABLE, 0),
    };
    let family = super::family_number(route.destination.addr());
    let prefix_len = route.destination.prefix_len();
    let mut bytes = vec![family, prefix_len, 0, 0, RT_TABLE_MAIN, route.origin.protocol(), scope, kind];
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes
}

fn parse(message: &Message<'_>, filter: RouteFilter) -> Result<Option<Route>, NetlinkError> {
    const SHORT: NetlinkError = NetlinkError::Malformed { what: "a route's header" };
    let (fixed, rest) = message.payload.split_first_chunk::<HEADER_LEN>().ok_or(SHORT)?;
    let [family, prefix_len, _, _, table, protocol, _, kind, f0, f1, f2, f3] = *fixed;
    let flags = u32::from_ne_bytes([f0, f1, f2, f3]);
    let is_wanted = match filter {
        RouteFilter::Ours => protocol == OWNER.route_protocol,
        RouteFilter::Main => true,
    };
    if !is_wanted || flags & RTM_F_CLONED != 0 {
        return Ok(None);
    }
    let Some(unspecified) = super::unspecified(family) else { return Ok(None) };
    let mut parts = Parts::new(unspecified, u32::from(table));
    parts.read(rest);
    Ok(parts.into_route(prefix_len, kind, flags).map(|route| Route { origin: RouteOrigin::of(protocol), ..route }))
}

/// The attributes of a route that concern us.
pub(super) struct Parts {
    pub(super) destination: IpAddr,
    pub(super) gateway: Option<IpAddr>,
    pub(super) link: Option<LinkIndex>,
    is_multipath: bool,
    source: Option<IpAddr>,
    mtu: Option<u32>,
    metric: u32,
    table: u32,
}

impl Parts {
    pub(super) fn new(destination: IpAddr, table: u32) -> Self {
        Self { destination, gateway: None, link: None, is_multipath: false, source: None, mtu: None, metric: 0, table }
    }

    pub(super) fn read(&mut self, attributes: &[u8]) {
        for (kind, value) in parse_attributes(attributes) {
            match kind {
                RTA_DST => self.destination = parse_address(value).unwrap_or(self.destination),
                RTA_GATEWAY => self.gateway = parse_address(value),
                RTA_VIA => self.gateway = value.get(2..).and_then(parse_address),
                RTA_OIF => self.link = parse_u32(value).map(LinkIndex),
                RTA_MULTIPATH => self.is_multipath = true,
                RTA_PRIORITY => self.metric = parse_u32(value).unwrap_or_default(),
                RTA_PREFSRC => self.source = parse_address(value),
                RTA_TABLE => self.table = parse_u32(value).unwrap_or(self.table),
                RTA_METRICS => {
                    let mtu = parse_attributes(value).find(|(kind, _)| *kind == RTAX_MTU);
                    self.mtu = mtu.and_then(|(_, value)| parse_u32(value));
                }
                _ => {}
            }
        }
    }

    fn into_route(self, prefix_len: u8, kind: u8, flags: u32) -> Option<Route> {
        if self.table != u32::from(RT_TABLE_MAIN) {
            return None;
        }
        let action = match (kind, self.gateway, self.link) {
            (RTN_LOCAL, ..) => RouteAction::Local,
            (RTN_BLACKHOLE, ..) => RouteAction::Blackhole,
            (RTN_UNREACHABLE, ..) => RouteAction::Unreachable,
            (RTN_UNICAST, ..) if self.is_multipath => RouteAction::Multipath,
            (RTN_UNICAST, Some(gateway), Some(link)) => {
                RouteAction::Via { gateway, link, on_link: flags & RTNH_F_ONLINK != 0 }
            }
            (RTN_UNICAST, None, Some(link)) => RouteAction::Link(link),
            _ => return None,
        };
        let destination = IpNet::new(self.destination, prefix_len).ok()?;
        let rank = if self.metric == NODE_METRIC { RouteRank::BehindOthers } else { RouteRank::Usual };
        Some(Route { source: self.source, mtu: self.mtu, rank, ..Route::new(destination, action) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{Veth, VethEnd};
    use crate::testing::isolated;

    const NEXT_HOP_LEN: u16 = 8;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    /// Adds a route of somebody else over two next hops on one link.
    fn add_multipath(host: &mut Rtnetlink, destination: IpNet, gateways: [IpAddr; 2], link: LinkIndex) {
        let hops = gateways.map(|gateway| {
            let mut attributes = Attributes::new();
            attributes.address(RTA_GATEWAY, gateway);
            let length = NEXT_HOP_LEN + u16::try_from(attributes.len()).unwrap();
            [&length.to_ne_bytes()[..], &[0, 0], &link.0.to_ne_bytes(), attributes.as_bytes()].concat()
        });
        let mut request = Attributes::append_to(header(&Route::new(destination, RouteAction::Multipath)));
        request.address(RTA_DST, destination.addr()).put(RTA_MULTIPATH, &hops.concat());
        host.socket.request(RTM_NEWROUTE, flag::CREATE, request.as_bytes()).unwrap();
    }

    #[test]
    fn routes_over_several_next_hops_and_over_one_of_the_other_family_are_read() {
        isolated(|| {
            let mut host = Rtnetlink::open().unwrap();
            let end = |name| VethEnd { name, mac: None, netns: None };
            let link = host.create_veth(&Veth { end: end("a"), peer: end("b"), mtu: 1500 }).unwrap().index;
            let peer = host.require_link("b").unwrap().index;
            host.set_up(peer).unwrap();
            host.add_address(link, net("192.0.2.1/24")).unwrap();
            host.add_address(link, net("2001:db8::1/64")).unwrap();
            let (v4, v6) = (net("10.244.0.0/16"), net("fd00:10:244::/48"));
            add_multipath(&mut host, v4, ["192.0.2.2".parse().unwrap(), "192.0.2.3".parse().unwrap()], link);
            add_multipath(&mut host, v6, ["2001:db8::2".parse().unwrap(), "2001:db8::3".parse().unwrap()], link);
            let unnumbered = Route::via(net("10.245.0.0/16"), "2001:db8::2".parse().unwrap(), link);
            host.replace_route(&unnumbered).unwrap();
            let routes = host.routes(RouteFilter::Main).unwrap();
            let action = |destination: IpNet| {
                let mut found = routes.iter().filter(|route| route.destination == destination);
                (found.next().map(|route| route.action), found.count())
            };
            assert_eq!(action(v4), (Some(RouteAction::Multipath), 0));
            assert_eq!(action(v6), (Some(RouteAction::Multipath), 0));
            assert_eq!(action(unnumbered.destination), (Some(unnumbered.action), 0));
            assert_eq!(host.link_towards("10.245.0.9".parse().unwrap()).unwrap(), None, "it is no neighbour");
            assert_eq!(host.link_towards("10.244.0.9".parse().unwrap()).unwrap(), None, "it is no neighbour");
        });
    }
}
