//! Where addresses can be answered for: the links of this node and the networks they are on.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::{Context, Result};
use datapath::route::{LinkIndex, MacAddress, Route, RouteAction, RouteFilter, Rtnetlink};
use ipnet::IpNet;
use model::{IpFamily, NodeNetworks};

/// One family on one link.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) link: LinkIndex,
    pub(super) mac: MacAddress,
    pub(super) family: IpFamily,
    /// The networks of the family the link is on, at least one.
    networks: Vec<IpNet>,
}

impl Place {
    /// Whether an address is one of a network of this place.
    pub(super) fn may_have(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }
}

/// What a node on these places tells others.
pub(super) fn networks_of(places: &[Place]) -> NodeNetworks {
    let networks: BTreeSet<IpNet> = places.iter().flat_map(|place| place.networks.iter().copied()).collect();
    NodeNetworks::Told(networks.into_iter().collect())
}

/// The places of this node, by the routes of its main table: an address makes one, and so does whoever says that a
/// network the node has no address of is on a link, as routers do in IPv6.
pub(super) fn read_places() -> Result<Vec<Place>> {
    let mut kernel = Rtnetlink::open().context("cannot ask for the networks this node is on")?;
    let routes = kernel.routes(RouteFilter::Main)?;
    let links = kernel.links()?.into_iter().filter(|link| !link.is_ours());
    let with_mac = links.filter_map(|link| Some((link.index, link.mac?)));
    let both = with_mac.flat_map(|(link, mac)| [(link, mac, IpFamily::V4), (link, mac, IpFamily::V6)]);
    let places = both.filter_map(|(link, mac, family)| {
        let networks = on_link(&routes, link, family);
        (!networks.is_empty()).then_some(Place { link, mac, family, networks })
    });
    Ok(places.collect())
}

/// The networks whose addresses the node looks for on a link itself. A route to one address alone tells of no network,
/// nor does one to all.
fn on_link(routes: &[Route], link: LinkIndex, family: IpFamily) -> Vec<IpNet> {
    let is_network = |net: &IpNet| (1..net.max_prefix_len()).contains(&net.prefix_len()) && !is_link_local(net.addr());
    let on_link = routes.iter().filter(|route| route.action == RouteAction::Link(link)).map(|route| route.destination);
    let networks: BTreeSet<IpNet> =
        on_link.filter(|net| IpFamily::of(net.addr()) == family && is_network(net)).collect();
    networks.into_iter().collect()
}

const fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(destination: &str, link: u32) -> Route {
        Route::on_link(destination.parse().unwrap(), LinkIndex(link))
    }

    #[test]
    fn networks_on_a_link_are_those_whose_addresses_are_looked_for_there() {
        let via = RouteAction::Via { gateway: "10.89.0.254".parse().unwrap(), link: LinkIndex(2), on_link: false };
        let routes = [
            route("10.89.0.0/24", 2),
            route("192.0.2.0/24", 2),
            route("10.89.0.9/32", 2),
            route("0.0.0.0/0", 2),
            route("fd00::/64", 2),
            route("fe80::/64", 2),
            route("10.88.0.0/24", 3),
            Route::new("10.90.0.0/16".parse().unwrap(), via),
        ];
        let on_link = |link, family| {
            on_link(&routes, LinkIndex(link), family).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(on_link(2, IpFamily::V4), ["10.89.0.0/24", "192.0.2.0/24"]);
        assert_eq!(on_link(2, IpFamily::V6), ["fd00::/64"]);
        assert_eq!(on_link(3, IpFamily::V4), ["10.88.0.0/24"]);
    }
}
