//! The veth pair of a container: routed, no bridge, nothing to ask the neighbourhood for.
//!
//! Inside, the container has its address alone (/32 or /128) and one way out: a link-local gateway that exists nowhere
//! but as a permanent neighbour entry with the Ethernet address of the host's end. Outside, the host has a route to
//! the address and a permanent neighbour too, so no packet ever waits for ARP or NDP, and none is answered by proxy.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::Duration;

use datapath::netns::NetnsError;
use datapath::route::{Link, LinkIndex, MacAddress, Route, RouteAction, Rtnetlink, Veth, VethEnd};
use datapath::{Netns, sysctl};
use ipnet::IpNet;

use crate::owner::Owner;
use crate::result::{Attachment, End};
use crate::{CniError, bandwidth};

/// The gateway inside every container; link-local, so it can be the same everywhere (RFC 3927, RFC 4291).
const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
/// What Ethernet carries (RFC 894); for nodes without a way to the outside.
const MTU_ETHERNET: u32 = 1500;

/// The kernel needs a millisecond or so; on a machine too busy for that, starting late is worse than losing a packet.
const RUNNING_DEADLINE: Duration = Duration::from_secs(1);

/// An attachment to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wiring<'a> {
    pub(crate) owner: &'a Owner,
    pub(crate) netns: &'a Path,
    /// `namespace/name`, for people who look at the links.
    pub(crate) pod: Option<&'a str>,
    pub(crate) addresses: &'a [IpAddr],
    /// Where the container is to have routes to; empty for everywhere.
    pub(crate) destinations: &'a [IpNet],
    /// The container's Ethernet address; the kernel draws one when there is none.
    pub(crate) mac: Option<MacAddress>,
    /// None: that of the host's way to the outside.
    pub(crate) mtu: Option<u32>,
}

/// Makes the attachment. On failure what was made is gone again.
pub(crate) fn attach(wiring: &Wiring<'_>) -> Result<Attachment, CniError> {
    let netns = open(wiring.netns)?;
    let mut host = Rtnetlink::open()?;
    let mtu = match wiring.mtu {
        Some(mtu) => mtu,
        None => outside_mtu(&mut host)?,
    };
    let name = wiring.owner.host_link();
    // A call that was killed left it; with this owner's name nobody else uses it.
    detach(&mut host, wiring.owner)?;
    let end = VethEnd { name: &name, mac: None, netns: None };
    let peer = VethEnd { name: &wiring.owner.interface, mac: wiring.mac, netns: Some(&netns) };
    let link = host.create_veth(&Veth { end, peer, mtu })?;
    let attached = complete(wiring, &mut host, &netns, &link);
    if attached.is_err() {
        // The first failure is the one to tell; with the host's end everything goes.
        let _ = host.delete_link(link.index);
    }
    attached
}

/// Removes the host's end of the owner's link, and with it the other end, routes and neighbours, and what shapes it.
/// Fine when it is gone.
pub(crate) fn detach(host: &mut Rtnetlink, owner: &Owner) -> Result<(), CniError> {
    bandwidth::lift(host, owner)?;
    if let Some(link) = host.link(&owner.host_link())? {
        host.delete_link(link.index)?;
    }
    Ok(())
}

/// The host's end of a container's interface, whoever made it.
pub(crate) fn host_end(host: &mut Rtnetlink, netns: &Path, interface: &str) -> Result<Link, CniError> {
    let netns = open(netns)?;
    let inside = Rtnetlink::open_in(&netns)?.require_link(interface)?;
    let links = host.links()?;
    let number = host.number_of(&netns)?;
    let is_other_end = |link: &Link| {
        // Numbers of links mean something only together with the namespace they are of.
        let leads_there = number.is_some() && link.peer_netns == number && link.peer == Some(inside.index);
        Some(link.index) == inside.peer && leads_there && inside.kind == link.kind
    };
    links.into_iter().find(is_other_end).ok_or_else(|| CniError::NoHostEnd { interface: interface.to_owned() })
}

fn complete(wiring: &Wiring<'_>, host: &mut Rtnetlink, netns: &Netns, link: &Link) -> Result<Attachment, CniError> {
    let purpose = wiring.pod.unwrap_or(&wiring.owner.container);
    // What it sends passes the guard against spoofing, which is stricter than the kernel.
    host.mark_as_guarded(link.index, purpose)?;
    sysctl::write(&format!("ipv4/conf/{}/proxy_arp", link.name), "0")?;
    let mut container = Rtnetlink::open_in(netns)?;
    let inside = container.require_link(&wiring.owner.interface)?;
    let routes = wiring.routes();
    prepare_inside(&mut container, (&inside, link), wiring.addresses, &routes)?;
    // A container may send the moment it starts, and a lost first question to DNS costs it seconds.
    container.wait_until_running(&inside.name, RUNNING_DEADLINE)?;
    host.wait_until_running(&link.name, RUNNING_DEADLINE)?;
    lead_to(host, link.index, inside.mac, wiring.addresses)?;
    Ok(Attachment {
        host: end_of(link),
        container: end_of(&inside),
        sandbox: wiring.netns.display().to_string(),
        mtu: link.mtu,
        addresses: wiring.addresses.iter().map(|address| (*address, gateway_of(*address))).collect(),
        routes,
        dns: None,
    })
}

/// Has the host send what is for the addresses to the container, whose Ethernet address is `mac`, by its own end `link`.
pub(crate) fn lead_to(
    host: &mut Rtnetlink,
    link: LinkIndex,
    mac: Option<MacAddress>,
    addresses: &[IpAddr],
) -> Result<(), CniError> {
    for address in addresses {
        if let Some(mac) = mac {
            host.set_neighbour(link, *address, mac)?;
        }
        host.replace_route(&route_outside(*address, link))?;
    }
    Ok(())
}

/// The host's route to an address of the container.
pub(crate) fn route_outside(address: IpAddr, link: LinkIndex) -> Route {
    Route::on_link(IpNet::from(address), link).ours()
}

impl Wiring<'_> {
    /// The container's routes: to what it is to reach, of the families it has, each by its gateway.
    fn routes(&self) -> Vec<(IpNet, IpAddr)> {
        let everywhere: Vec<IpNet> = self.addresses.iter().map(|address| everywhere(*address)).collect();
        let destinations = if self.destinations.is_empty() { &everywhere } else { self.destinations };
        let has_family = |net: &&IpNet| self.addresses.iter().any(|address| address.is_ipv4() == net.addr().is_ipv4());
        destinations.iter().filter(has_family).map(|net| (*net, gateway_of(net.addr()))).collect()
    }
}

fn prepare_inside(
    container: &mut Rtnetlink,
    (inside, outside): (&Link, &Link),
    addresses: &[IpAddr],
    routes: &[(IpNet, IpAddr)],
) -> Result<(), CniError> {
    let loopback = container.require_link("lo")?;
    container.set_up(loopback.index)?;
    container.set_up(inside.index)?;
    for address in addresses {
        container.add_address(inside.index, IpNet::from(*address))?;
        let gateway = gateway_of(*address);
        if let Some(mac) = outside.mac {
            container.set_neighbour(inside.index, gateway, mac)?;
        }
    }
    for (destination, gateway) in routes {
        container.replace_route(&route_inside(*destination, *gateway, inside.index))?;
    }
    Ok(())
}

/// Opens the container's namespace.
pub(crate) fn open(netns: &Path) -> Result<Netns, CniError> {
    Netns::open(netns).map_err(|source| match source {
        NetnsError::Open { path, source } if source.kind() == std::io::ErrorKind::NotFound => {
            CniError::Variable { name: "CNI_NETNS", why: format!("{} does not exist", path.display()) }
        }
        source => CniError::Namespace(source),
    })
}

/// The largest packet on the host's way to the outside.
fn outside_mtu(host: &mut Rtnetlink) -> Result<u32, CniError> {
    let links = host.default_links()?;
    let listed = host.links()?;
    let mtus = listed.iter().filter(|link| links.contains(&link.index)).map(|link| link.mtu);
    Ok(mtus.min().unwrap_or(MTU_ETHERNET))
}

/// The gateway of an address's family, the same in every container.
pub(crate) fn gateway_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => GATEWAY_V4.into(),
        IpAddr::V6(_) => GATEWAY_V6.into(),
    }
}

/// The range of all addresses of the family of `address`.
pub(crate) fn everywhere(address: IpAddr) -> IpNet {
    match address {
        IpAddr::V4(_) => IpNet::new_assert(Ipv4Addr::UNSPECIFIED.into(), 0),
        IpAddr::V6(_) => IpNet::new_assert(Ipv6Addr::UNSPECIFIED.into(), 0),
    }
}

/// A route of the container: the gateway is on the link though no other route says so.
pub(crate) fn route_inside(destination: IpNet, gateway: IpAddr, link: LinkIndex) -> Route {
    Route::new(destination, RouteAction::Via { gateway, link, on_link: true }).ours()
}

fn end_of(link: &Link) -> End {
    End { name: link.name.clone(), mac: link.mac }
}
