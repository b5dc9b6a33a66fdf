//! The wires of a lab: a bridge on the control plane's machine, and a wire to it from each node.

use std::net::Ipv4Addr;
use std::process::Command;

use anyhow::{Context, Result};

use super::machine::{Inside, Machine};
use super::site::{CONTROL, Node};
use crate::process::run;

const BRIDGE: &str = "lab";
/// A node's interface to the others.
const UPLINK: &str = "eth0";

/// Makes the bridge.
pub fn lay_bridge(control: &Machine) -> Result<()> {
    let address = format!("{CONTROL}/24");
    ip(control, &["link", "set", "lo", "up"])?;
    ip(control, &["link", "add", BRIDGE, "type", "bridge"])?;
    ip(control, &["address", "add", &address, "dev", BRIDGE])?;
    ip(control, &["link", "set", BRIDGE, "up"])
}

/// Connects a node to the bridge.
pub fn connect(control: &Machine, node: &Node) -> Result<()> {
    let name = node.name();
    let inside = node.machine.first_process()?.with_context(|| format!("{name} is not up"))?.to_string();
    // What is left of the wire when a node was killed a moment ago is still being taken down.
    let _ = ip(control, &["link", "delete", name]);
    ip(control, &["link", "add", name, "type", "veth", "peer", "name", UPLINK, "netns", &inside])?;
    ip(control, &["link", "set", name, "master", BRIDGE, "up"])?;
    let (address, gateway) = (format!("{}/24", node.address), CONTROL.to_string());
    ip(&node.machine, &["link", "set", "lo", "up"])?;
    ip(&node.machine, &["address", "add", &address, "dev", UPLINK])?;
    ip(&node.machine, &["link", "set", UPLINK, "up"])?;
    ip(&node.machine, &["route", "add", "default", "via", &gateway])
}

/// Sends packets for `range` by way of `via`, seen from `machine`.
pub fn route(machine: &Machine, range: &str, via: Ipv4Addr) -> Result<()> {
    ip(machine, &["route", "replace", range, "via", &via.to_string()])
}

fn ip(machine: &Machine, words: &[&str]) -> Result<()> {
    let mut command: Command = machine.command(Inside::Network, "ip")?;
    run(command.args(words))
}
