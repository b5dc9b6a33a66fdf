//! The veth pair of a container: routed, no bridge, nothing to ask the neighbourhood for.
//!
//! Inside, the container has its address alone (/32 or /128) and one way out: a link-local gateway that exists nowhere
//! but as a permanent neighbour entry with the Ethernet address of the host's end. Outside, the host has a route to
//! the address and a permanent neighbour too, so no packet ever waits for ARP or NDP, and none is answered by proxy.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::Duration;

use datapath::netns::NetnsError;
use datapath::route::{Link, LinkIndex, Route, RouteAction, RouteFilter, Rtnetlink, Veth, VethEnd};
use datapath::{Netns, sysctl};
use ipnet::IpNet;

use crate::CniError;
use crate::owner::Owner;
use crate::result::{Attachment, End};

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
    /// None: that of the host's way to the outside.
    pub(crate) mtu: Option<u32>,
}

/// Makes the attachment. On failure what was made is gone again.
pub(crate) fn attach(wiring: &Wiring<'_>) -> Result<Attachment, CniError> {
    let netns = open(wiring.netns)?;
    let mut host = Rtnetlink::open()?;
    forward(wiring.addresses)?;
    let mtu = match wiring.mtu {
        Some(mtu) => mtu,
        None => outside_mtu(&mut host)?,
    };
    let name = wiring.owner.host_link();
    // A call that was killed left it; with this owner's name nobody else uses it.
    detach(&mut host, wiring.owner)?;
    let end = VethEnd { name: &name, mac: None, netns: None };
    let peer = VethEnd { name: &wiring.owner.interface, mac: None, netns: Some(&netns) };
    let link = host.create_veth(&Veth { end, peer, mtu })?;
    let attached = complete(wiring, &mut host, &netns, &link);
    if attached.is_err() {
        // The first failure is the one to tell; with the host's end everything goes.
        let _ = host.delete_link(link.index);
    }
    attached
}

/// Removes the host's end of the owner's link, and with it the other end, routes and neighbours. Fine when it is gone.
pub(crate) fn detach(host: &mut Rtnetlink, owner: &Owner) -> Result<(), CniError> {
    if let Some(link) = host.link(&owner.host_link())? {
        host.delete_link(link.index)?;
    }
    Ok(())
}

fn complete(wiring: &Wiring<'_>, host: &mut Rtnetlink, netns: &Netns, link: &Link) -> Result<Attachment, CniError> {
    let purpose = wiring.pod.unwrap_or(&wiring.owner.container);
    host.mark_as_ours(link.index, purpose)?;
    sysctl::write(&format!("ipv4/conf/{}/proxy_arp", link.name), "0")?;
    let mut container = Rtnetlink::open_in(netns)?;
    let inside = container.require_link(&wiring.owner.interface)?;
    prepare_inside(&mut container, &inside, link, wiring.addresses)?;
    // A container may send the moment it starts, and a lost first question to DNS costs it seconds.
    container.wait_until_running(&inside.name, RUNNING_DEADLINE)?;
    host.wait_until_running(&link.name, RUNNING_DEADLINE)?;
    for address in wiring.addresses {
        if let Some(mac) = inside.mac {
            host.set_neighbour(link.index, *address, mac)?;
        }
        host.replace_route(&Route::on_link(IpNet::from(*address), link.index).ours())?;
    }
    Ok(Attachment {
        host: end_of(link),
        container: end_of(&inside),
        sandbox: wiring.netns.display().to_string(),
        mtu: link.mtu,
        addresses: wiring.addresses.iter().map(|address| (*address, gateway_of(*address))).collect(),
    })
}

fn prepare_inside(
    container: &mut Rtnetlink,
    inside: &Link,
    outside: &Link,
    addresses: &[IpAddr],
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
        container.replace_route(&default_route(gateway, inside.index))?;
    }
    Ok(())
}

/// Compares the attachment with what [`attach`] makes and returns what is wrong, each as a sentence; none is well.
pub(crate) fn faults(owner: &Owner, netns: &Path, addresses: &[IpAddr]) -> Result<Vec<String>, CniError> {
    let mut host = Rtnetlink::open()?;
    let mut container = Rtnetlink::open_in(&open(netns)?)?;
    let name = owner.host_link();
    let mut faults = Vec::new();
    match host.link(&name)? {
        None => faults.push(format!("the host has no link {name}")),
        Some(link) if !link.is_up => faults.push(format!("the host's link {name} is down")),
        Some(link) => {
            let routes = host.routes(RouteFilter::Ours)?;
            let missing =
                |address: &&IpAddr| !routes.contains(&Route::on_link(IpNet::from(**address), link.index).ours());
            faults
                .extend(addresses.iter().filter(missing).map(|address| format!("the host has no route to {address}")));
        }
    }
    match container.link(&owner.interface)? {
        None => faults.push(format!("the container has no interface {}", owner.interface)),
        Some(link) if !link.is_up => faults.push(format!("the container's interface {} is down", owner.interface)),
        Some(link) => faults.extend(faults_inside(&mut container, link.index, addresses)?),
    }
    Ok(faults)
}

fn faults_inside(container: &mut Rtnetlink, link: LinkIndex, addresses: &[IpAddr]) -> Result<Vec<String>, CniError> {
    let held = container.addresses()?;
    let routes = container.routes(RouteFilter::Main)?;
    let neighbours = container.permanent_neighbours()?;
    let mut faults = Vec::new();
    for address in addresses {
        let gateway = gateway_of(*address);
        if !held.contains(&(link, IpNet::from(*address))) {
            faults.push(format!("the container's interface does not have {address}"));
        }
        if !routes.contains(&default_route(gateway, link)) {
            faults.push(format!("the container has no default route via {gateway}"));
        }
        if !neighbours.iter().any(|(on, known, _)| *on == link && *known == gateway) {
            faults.push(format!("the container does not know its gateway {gateway}"));
        }
    }
    Ok(faults)
}

fn open(netns: &Path) -> Result<Netns, CniError> {
    Netns::open(netns).map_err(|source| match source {
        NetnsError::Open { path, source } if source.kind() == std::io::ErrorKind::NotFound => {
            CniError::Variable { name: "CNI_NETNS", why: format!("{} does not exist", path.display()) }
        }
        source => CniError::Namespace(source),
    })
}

/// Lets the host pass packets on, without which a routed container reaches the host only.
fn forward(addresses: &[IpAddr]) -> Result<(), CniError> {
    if addresses.iter().any(IpAddr::is_ipv4) {
        sysctl::write("ipv4/ip_forward", "1")?;
    }
    if addresses.iter().any(IpAddr::is_ipv6) {
        sysctl::write("ipv6/conf/all/forwarding", "1")?;
    }
    Ok(())
}

/// The largest packet on the host's way to the outside.
fn outside_mtu(host: &mut Rtnetlink) -> Result<u32, CniError> {
    let defaults = host.routes(RouteFilter::Main)?.into_iter().filter(|route| route.destination.prefix_len() == 0);
    let links: Vec<LinkIndex> = defaults
        .filter_map(|route| match route.action {
            RouteAction::Via { link, .. } | RouteAction::Link(link) => Some(link),
            RouteAction::Local | RouteAction::Blackhole | RouteAction::Unreachable => None,
        })
        .collect();
    let listed = host.links()?;
    let mtus = listed.iter().filter(|link| links.contains(&link.index)).map(|link| link.mtu);
    Ok(mtus.min().unwrap_or(MTU_ETHERNET))
}

fn gateway_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => GATEWAY_V4.into(),
        IpAddr::V6(_) => GATEWAY_V6.into(),
    }
}

fn default_route(gateway: IpAddr, link: LinkIndex) -> Route {
    let destination = match gateway {
        IpAddr::V4(_) => IpNet::new_assert(Ipv4Addr::UNSPECIFIED.into(), 0),
        IpAddr::V6(_) => IpNet::new_assert(Ipv6Addr::UNSPECIFIED.into(), 0),
    };
    Route::new(destination, RouteAction::Via { gateway, link, on_link: true }).ours()
}

fn end_of(link: &Link) -> End {
    End { name: link.name.clone(), mac: link.mac.map(|mac| mac.to_string()).unwrap_or_default() }
}
