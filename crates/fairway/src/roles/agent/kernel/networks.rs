//! What the node's links are, read from the kernel.

use std::net::IpAddr;

use anyhow::{Context, Result};
use compile::plan::{Checksums, LinkNetwork};
use datapath::route::Rtnetlink;
use ipnet::IpNet;

/// The networks the node's links are on now, with the addresses by which others may know the node there. Links of ours,
/// such as the tunnel, are left out: they come and go with the plan.
pub(in crate::roles::agent) fn link_networks() -> Result<Vec<LinkNetwork>> {
    let mut kernel = Rtnetlink::open().context("cannot ask for the node's addresses")?;
    let links = kernel.links()?;
    let network = |(index, address): (_, IpNet)| {
        let link = links.iter().find(|link| link.index == index && !link.is_ours())?;
        let is_known = !address.addr().is_loopback() && !is_link_local(address.addr());
        is_known.then_some(LinkNetwork { address, mtu: link.mtu })
    };
    // Other plugins give the node's ends of pods' links one address in common: pods that come and go are no news.
    let mut networks: Vec<LinkNetwork> = kernel.addresses()?.into_iter().filter_map(network).collect();
    networks.sort_by_key(|network| (network.address, network.mtu));
    networks.dedup();
    Ok(networks)
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
