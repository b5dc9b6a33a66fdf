//! `CHECK`: whether an attachment is as `ADD` left it.

use std::net::IpAddr;
use std::path::Path;

use datapath::route::{Link, MacAddress, RouteFilter, Rtnetlink};
use datapath::{HostPorts, Netns};
use ipnet::IpNet;
use serde_json::Value;

use crate::config::{AddressSource, Config, Position};
use crate::environment::Target;
use crate::ipam::Store;
use crate::owner::Owner;
use crate::result::{Side, addresses_of_interface, interface_of, routes_of};
use crate::state::StateDirectory;
use crate::wiring::{self, gateway_of};
use crate::{CniError, attachments, host_ports};

/// Compares an attachment with what `ADD` said it made; nothing is well.
pub(super) fn check(state: &StateDirectory, config: &Config, target: &Target) -> Result<(), CniError> {
    let Some(previous) = &config.previous else {
        let why = "CHECK compares with the result of ADD; the runtime must give it".to_owned();
        return Err(CniError::Config { field: "prevResult".into(), why });
    };
    let owner = &target.owner;
    if attachments::read(state, owner)?.is_none() {
        let (container, interface) = (owner.container.clone(), owner.interface.clone());
        return Err(CniError::UnknownContainer { container, interface });
    }
    let addresses = addresses_of_interface(previous, &owner.interface);
    let mut ends = Ends::open(&target.netns)?;
    let mut faults = match &config.position {
        Position::Main(source) => {
            let mut faults = reservation_faults(state, source, owner, &addresses)?;
            faults.extend(ends.faults(owner, &addresses, previous)?);
            if !HostPorts::open()?.guards()? {
                faults.push("nothing keeps containers from sending under addresses of others".to_owned());
            }
            faults
        }
        Position::Chained => ends.absence(owner)?,
    };
    // Without the link there is nothing more to say of it.
    if config.wishes.bandwidth.is_wished()
        && let Some(link) = ends.limited_link(&config.position, target)?
    {
        faults.extend(config.wishes.bandwidth.faults(&mut ends.host, owner, &link)?);
    }
    faults.extend(host_ports::faults(state, owner, &host_ports::plan(&config.wishes.port_mappings, &addresses))?);
    if faults.is_empty() { Ok(()) } else { Err(CniError::Damaged { faults }) }
}

/// Whether whoever gave the addresses still knows.
fn reservation_faults(
    state: &StateDirectory,
    source: &AddressSource,
    owner: &Owner,
    addresses: &[IpAddr],
) -> Result<Vec<String>, CniError> {
    if let AddressSource::Plugin(plugin) = source {
        return plugin.forward("CHECK").map(|()| Vec::new());
    }
    let reservations = Store::new(state).reservations()?;
    let is_held = |address: &IpAddr| reservations.get(address).is_some_and(|holder| holder.as_ref() == Some(owner));
    let held = addresses.iter().filter(|address| !is_held(address));
    let mut faults: Vec<String> = held.map(|address| format!("{address} is not reserved for the container")).collect();
    let ours = reservations.iter().filter(|(_, holder)| holder.as_ref() == Some(owner));
    let untold = ours.filter(|(address, _)| !addresses.contains(address));
    faults.extend(untold.map(|(address, _)| format!("prevResult does not have the container's address {address}")));
    Ok(faults)
}

/// Both sides of the attachment.
struct Ends {
    host: Rtnetlink,
    container: Rtnetlink,
}

impl Ends {
    fn open(netns: &Path) -> Result<Self, CniError> {
        let netns: Netns = wiring::open(netns)?;
        Ok(Self { host: Rtnetlink::open()?, container: Rtnetlink::open_in(&netns)? })
    }

    /// The host's end, which limits are on; none when one of the ends is gone.
    fn limited_link(&mut self, position: &Position, target: &Target) -> Result<Option<Link>, CniError> {
        let interface = &target.owner.interface;
        match position {
            Position::Main(_) => Ok(self.host.link(&target.owner.host_link())?),
            Position::Chained if self.container.link(interface)?.is_none() => Ok(None),
            Position::Chained => wiring::host_end(&mut self.host, &target.netns, interface).map(Some),
        }
    }

    /// Whether the interface another plugin made is gone.
    fn absence(&mut self, owner: &Owner) -> Result<Vec<String>, CniError> {
        let is_there = self.container.link(&owner.interface)?.is_some();
        Ok(if is_there { Vec::new() } else { vec![absent(&owner.interface)] })
    }

    fn faults(&mut self, owner: &Owner, addresses: &[IpAddr], previous: &Value) -> Result<Vec<String>, CniError> {
        let (name, interface) = (owner.host_link(), &owner.interface);
        let (outside, inside) = (self.host.link(&name)?, self.container.link(interface)?);
        let mut faults = Vec::new();
        match &outside {
            None => faults.push(format!("the host has no link {name}")),
            Some(link) if !link.is_up => faults.push(format!("the host's link {name} is down")),
            Some(link) => {
                faults.extend(self.host_faults(link, inside.as_ref(), addresses)?);
                faults.extend(mtu_fault(link, previous, Side::Host));
            }
        }
        match &inside {
            None => faults.push(absent(interface)),
            Some(link) if !link.is_up => faults.push(format!("the container's interface {interface} is down")),
            Some(link) => {
                faults.extend(self.container_faults(link, outside.as_ref(), addresses)?);
                faults.extend(self.route_faults(link, addresses, previous)?);
                faults.extend(identity_fault(link, previous));
                faults.extend(mtu_fault(link, previous, Side::Container));
            }
        }
        Ok(faults)
    }

    fn host_faults(
        &mut self,
        link: &Link,
        inside: Option<&Link>,
        addresses: &[IpAddr],
    ) -> Result<Vec<String>, CniError> {
        let routes = self.host.routes(RouteFilter::Ours)?;
        let neighbours = self.host.permanent_neighbours()?;
        let mac = inside.and_then(|inside| inside.mac);
        let mut faults = Vec::new();
        for address in addresses {
            if !routes.contains(&wiring::route_outside(*address, link.index)) {
                faults.push(format!("the host has no route to {address}"));
            }
            if mac.is_some_and(|mac| !neighbours.contains(&(link.index, *address, mac))) {
                faults.push(format!("the host does not know {address} by the container's Ethernet address"));
            }
        }
        Ok(faults)
    }

    fn container_faults(
        &mut self,
        link: &Link,
        outside: Option<&Link>,
        addresses: &[IpAddr],
    ) -> Result<Vec<String>, CniError> {
        let held = self.container.addresses()?;
        let neighbours = self.container.permanent_neighbours()?;
        let mac: Option<MacAddress> = outside.and_then(|outside| outside.mac);
        let mut faults = Vec::new();
        for address in addresses {
            let gateway = gateway_of(*address);
            if !held.contains(&(link.index, IpNet::from(*address))) {
                faults.push(format!("the container's interface does not have {address}"));
            }
            let is_gateway = |(on, known, _): &&(_, IpAddr, MacAddress)| *on == link.index && *known == gateway;
            match neighbours.iter().find(is_gateway) {
                None => faults.push(format!("the container does not know its gateway {gateway}")),
                Some((_, _, known)) if mac.is_some_and(|mac| mac != *known) => {
                    faults.push(format!("the container knows its gateway {gateway} by a wrong Ethernet address"));
                }
                Some(_) => {}
            }
        }
        Ok(faults)
    }

    /// Whether the container has the routes by its gateways that the result tells; for an address of whose family it
    /// tells none, that to everywhere.
    fn route_faults(&mut self, link: &Link, addresses: &[IpAddr], previous: &Value) -> Result<Vec<String>, CniError> {
        let held = self.container.routes(RouteFilter::Main)?;
        let is_ours = |(destination, gateway): &(IpNet, IpAddr)| *gateway == gateway_of(destination.addr());
        let mut wanted: Vec<(IpNet, IpAddr)> = routes_of(previous).into_iter().filter(is_ours).collect();
        for address in addresses {
            let gateway = gateway_of(*address);
            if wanted.iter().all(|(_, known)| *known != gateway) {
                wanted.push((wiring::everywhere(*address), gateway));
            }
        }
        let missing = wanted
            .into_iter()
            .filter(|(destination, gateway)| !held.contains(&wiring::route_inside(*destination, *gateway, link.index)));
        let told = |(destination, gateway)| format!("the container has no route to {destination} via {gateway}");
        Ok(missing.map(told).collect())
    }
}

fn absent(interface: &str) -> String {
    format!("the container has no interface {interface}")
}

/// Whether the container's interface is the one the result speaks of.
fn identity_fault(link: &Link, previous: &Value) -> Option<String> {
    let told = interface_of(previous, &link.name, Side::Container)?["mac"].as_str()?;
    let is_same = told.is_empty() || link.mac.is_some_and(|mac| mac.to_string().eq_ignore_ascii_case(told));
    (!is_same).then(|| format!("the container's interface does not have the Ethernet address {told}"))
}

/// Whether a link carries as large packets as the result says, where its version says that.
fn mtu_fault(link: &Link, previous: &Value, side: Side) -> Option<String> {
    let told = interface_of(previous, &link.name, side)?["mtu"].as_u64()?;
    (u64::from(link.mtu) != told).then(|| format!("{} carries packets of {} bytes, not of {told}", link.name, link.mtu))
}
