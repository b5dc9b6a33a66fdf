//! What the node's links are, read from the kernel.

use std::net::IpAddr;

use anyhow::{Context, Result};
use compile::plan::{Checksums, LinkNetwork};
use datapath::route::{Link, LinkIndex, RouteAction, RouteFilter, Rtnetlink};
use ipnet::IpNet;

/// The link that leads to the host itself.
const LOOPBACK: &str = "lo";
/// What an Ethernet between machines carries (RFC 894), when nothing is known of any link.
const MTU_ETHERNET: u32 = 1500;

/// The networks the node's links are on now, with the addresses by which others may know the node there. Links of ours,
/// such as the tunnel, are left out: they come and go with the plan.
pub(in crate::roles::agent) fn link_networks() -> Result<Vec<LinkNetwork>> {
    let mut kernel = Rtnetlink::open().context("cannot ask for the node's addresses")?;
    let links = kernel.links()?;
    Ok(networks_of(&links, &kernel.addresses()?))
}

/// The networks of links that are not ours, sorted.
fn networks_of(links: &[Link], addresses: &[(LinkIndex, IpNet)]) -> Vec<LinkNetwork> {
    let on_link = |(index, address): &(LinkIndex, IpNet)| {
        let link = links.iter().find(|link| link.index == *index && !link.is_ours())?;
        let is_known = !address.addr().is_loopback() && !is_link_local(address.addr());
        is_known.then_some((link, *address))
    };
    let known: Vec<(&Link, IpNet)> = addresses.iter().filter_map(on_link).collect();
    // An address on the loopback link is reached by the others, whichever that is for whom.
    let outward = known.iter().filter(|(link, _)| link.name != LOOPBACK).map(|(link, _)| link.mtu).min();
    let mtu = |link: &Link| if link.name == LOOPBACK { outward.unwrap_or(MTU_ETHERNET) } else { link.mtu };
    let network = |(link, address): &(&Link, IpNet)| LinkNetwork { address: *address, mtu: mtu(link) };
    // Other plugins give the node's ends of pods' links one address in common: pods that come and go are no news.
    let mut networks: Vec<LinkNetwork> = known.iter().map(network).collect();
    networks.sort_by_key(|network| (network.address, network.mtu));
    networks.dedup();
    networks
}

/// The ranges of pods that an earlier agent led to other nodes or had this one answer for.
pub(super) fn routed_ranges() -> Result<Vec<IpNet>> {
    let mut kernel = Rtnetlink::open().context("cannot ask for the node's routes")?;
    let routes = kernel.routes(RouteFilter::Ours)?.into_iter();
    // Those that lead to a link are the CNI plugin's, to the node's own pods.
    let planned = routes.filter(|route| !matches!(route.action, RouteAction::Link(_)));
    Ok(planned.map(|route| route.destination).collect())
}

/// Who computes the checksums of what the tunnel carries that an earlier agent left; nothing when there is none.
pub(in crate::roles::agent) fn tunnel_checksums() -> Result<Option<Checksums>> {
    let mut kernel = Rtnetlink::open().context("cannot ask for the tunnel")?;
    let tunnel = datapath::read_tunnel(&mut kernel).context("cannot read how the tunnel is set up")?;
    Ok(tunnel.map(|tunnel| tunnel.checksums))
}

/// The addresses by which others may know a node that is on these networks.
pub(in crate::roles::agent) fn addresses_of(networks: &[LinkNetwork]) -> Vec<IpAddr> {
    networks.iter().map(|network| network.address.addr()).collect()
}

/// Whether an address means something on its own link only; every pod's link has one.
const fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str, mtu: u32) -> Link {
        let index = LinkIndex(index);
        Link {
            index,
            name: name.to_owned(),
            mtu,
            mac: None,
            alias: None,
            is_up: true,
            is_running: true,
            controller: None,
            peer: None,
            peer_netns: None,
            kind: None,
        }
    }

    #[test]
    fn an_address_on_the_loopback_link_carries_what_the_links_outward_do() {
        let links = [link(1, LOOPBACK, 65536), link(2, "eth0", 9000), link(3, "eth1", 1500)];
        let on = |index, address: &str| (LinkIndex(index), address.parse::<IpNet>().unwrap());
        let addresses = [
            on(1, "127.0.0.1/8"),
            on(1, "10.0.0.1/32"),
            on(2, "10.89.0.1/24"),
            on(3, "10.89.1.1/24"),
            on(3, "fe80::1/64"),
        ];
        let mtu = |addresses: &[_]| -> Vec<u32> {
            networks_of(&links, addresses).into_iter().map(|network| network.mtu).collect()
        };
        assert_eq!(mtu(&addresses), [1500, 9000, 1500]);
        assert_eq!(mtu(&addresses[..2]), [MTU_ETHERNET]);
    }
}
