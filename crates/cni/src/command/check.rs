//! `CHECK`: whether an attachment is as `ADD` left it.

use std::net::IpAddr;
use std::path::Path;

use datapath::Netns;
use datapath::route::{Link, MacAddress, Route, RouteFilter, Rtnetlink};
use ipnet::IpNet;
use serde_json::Value;

use crate::config::{AddressSource, Config, Position};
use crate::environment::Target;
use crate::ipam::Store;
use crate::owner::Owner;
use crate::result::addresses_of_interface;
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
            faults
        }
        Position::Chained => ends.absence(owner)?,
    };
    // Without the link there is nothing more to say of it.
    if faults.is_empty() && config.wishes.bandwidth.is_wished() {
        let link = wiring::host_end(&mut ends.host, &target.netns, &owner.interface)?;
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
            Some(link) => faults.extend(self.host_faults(link, inside.as_ref(), addresses)?),
        }
        match &inside {
            None => faults.push(absent(interface)),
            Some(link) if !link.is_up => faults.push(format!("the container's interface {interface} is down")),
            Some(link) => {
                faults.extend(self.container_faults(link, outside.as_ref(), addresses)?);
                faults.extend(identity_faults(link, previous));
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
            if !routes.contains(&Route::on_link(IpNet::from(*address), link.index).ours()) {
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
        let routes = self.container.routes(RouteFilter::Main)?;
        let neighbours = self.container.permanent_neighbours()?;
        let mac: Option<MacAddress> = outside.and_then(|outside| outside.mac);
        let mut faults = Vec::new();
        for address in addresses {
            let gateway = gateway_of(*address);
            if !held.contains(&(link.index, IpNet::from(*address))) {
                faults.push(format!("the container's interface does not have {address}"));
            }
            if !routes.iter().any(|route| *route == wiring::route_inside(route.destination, gateway, link.index)) {
                faults.push(format!("the container has no route via {gateway}"));
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
}

fn absent(interface: &str) -> String {
    format!("the container has no interface {interface}")
}

/// Whether the container's interface is the one the result speaks of.
fn identity_faults(link: &Link, previous: &Value) -> Option<String> {
    let interfaces = previous["interfaces"].as_array()?;
    let inside = |entry: &&Value| entry["sandbox"].as_str().is_some_and(|sandbox| !sandbox.is_empty());
    let told = interfaces.iter().filter(inside).find(|entry| entry["name"] == link.name)?["mac"].as_str()?;
    let is_same = told.is_empty() || link.mac.is_some_and(|mac| mac.to_string().eq_ignore_ascii_case(told));
    (!is_same).then(|| format!("the container's interface does not have the Ethernet address {told}"))
}
