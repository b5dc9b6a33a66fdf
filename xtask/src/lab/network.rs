//! The wires of a lab: a bridge on the control plane's machine, and a wire to it from each node.

use std::net::IpAddr;
use std::process::Command;

use anyhow::{Context, Result};

use super::machine::{Inside, Machine};
use super::site::{CONTROL, CONTROL_IPV6, Families, Node};
use crate::process::{output, run};

const BRIDGE: &str = "lab";
/// A node's interface to the others.
const UPLINK: &str = "eth0";

/// Makes the bridge.
pub fn lay_bridge(control: &Machine, families: Families) -> Result<()> {
    ip(control, &["link", "set", "lo", "up"])?;
    ip(control, &["link", "add", BRIDGE, "type", "bridge"])?;
    ip(control, &["link", "set", BRIDGE, "up"])?;
    let all = [IpAddr::from(CONTROL), CONTROL_IPV6.into()];
    let some = if families == Families::Dual { &all[..] } else { &all[..1] };
    some.iter().try_for_each(|address| give(control, *address, BRIDGE))
}

/// Connects a node to the bridge.
pub fn connect(control: &Machine, node: &Node) -> Result<()> {
    let name = node.name();
    let inside = node.machine.first_process()?.with_context(|| format!("{name} is not up"))?.to_string();
    // What is left of the wire when a node was killed a moment ago is still being taken down.
    let _ = ip(control, &["link", "delete", name]);
    ip(control, &["link", "add", name, "type", "veth", "peer", "name", UPLINK, "netns", &inside])?;
    ip(control, &["link", "set", name, "master", BRIDGE, "up"])?;
    ip(&node.machine, &["link", "set", "lo", "up"])?;
    ip(&node.machine, &["link", "set", UPLINK, "up"])?;
    for address in &node.addresses {
        let (everything, gateway) = match address {
            IpAddr::V4(_) => ("0.0.0.0/0", CONTROL.to_string()),
            IpAddr::V6(_) => ("::/0", CONTROL_IPV6.to_string()),
        };
        give(&node.machine, *address, UPLINK)?;
        ip(&node.machine, &["route", "add", everything, "via", &gateway])?;
    }
    Ok(())
}

/// Sends packets for the ranges by way of the node, seen from `machine`.
pub fn route(machine: &Machine, ranges: &[String], node: &Node) -> Result<()> {
    for range in ranges {
        let same_family = |address: &&IpAddr| address.is_ipv6() == range.contains(':');
        let via = node.addresses.iter().find(same_family);
        let via = via.with_context(|| format!("{} has no address for {range}", node.name()))?;
        ip(machine, &["route", "replace", range, "via", &via.to_string()])?;
    }
    Ok(())
}

/// The Ethernet address of a node's interface to the others.
pub fn hardware_address(node: &Node) -> Result<String> {
    let told = output(node.machine.command(Inside::Network, "ip")?.args(["-brief", "link", "show", UPLINK]))?;
    let address = told.split_whitespace().nth(2).map(str::to_owned);
    address.with_context(|| format!("{} has no interface {UPLINK}", node.name()))
}

fn give(machine: &Machine, address: IpAddr, link: &str) -> Result<()> {
    match address {
        IpAddr::V4(_) => ip(machine, &["address", "add", &format!("{address}/24"), "dev", link]),
        // Nobody else has it: it can be used at once.
        IpAddr::V6(_) => ip(machine, &["address", "add", &format!("{address}/64"), "dev", link, "nodad"]),
    }
}

fn ip(machine: &Machine, words: &[&str]) -> Result<()> {
    let mut command: Command = machine.command(Inside::Network, "ip")?;
    run(command.args(words))
}
