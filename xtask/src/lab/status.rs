//! What runs in a lab.

use std::process::Command;

use anyhow::{Context, Result};

use super::cluster::Cluster;
use super::machine::{Inside, Machine, Running};
use super::site::Site;
use crate::process::show;

/// Prints machines, their services and the nodes as the cluster sees them.
pub fn status(site: &Site) -> Result<()> {
    let shape = site.read_shape()?;
    println!("lab {}, {} nodes, stack {}", site.name, shape.nodes, shape.stack.name());
    print_machine(&site.control());
    site.nodes(&shape).iter().for_each(|node| print_machine(&node.machine));
    show(Cluster::of(site).command()?.args(["get", "nodes", "-o", "wide"]))
}

/// A shell or a command on a machine of the lab, its files as they are there.
pub fn enter(site: &Site, machine: &str, words: &[String]) -> Result<Command> {
    let (program, arguments) = words.split_first().map_or(("bash", &[][..]), |(first, rest)| (first.as_str(), rest));
    let mut command = machine_of_name(site, machine)?.command(Inside::Everything, program)?;
    command.args(arguments);
    Ok(command)
}

/// The machine of that name.
pub fn machine_of_name(site: &Site, name: &str) -> Result<Machine> {
    let nodes = site.nodes(&site.read_shape()?).into_iter().map(|node| node.machine);
    let found = nodes.chain([site.control()]).find(|machine| machine.name == name);
    found.with_context(|| format!("no machine {name:?} in this lab; `cargo xtask lab status` lists them"))
}

fn print_machine(machine: &Machine) {
    let services = match machine.services() {
        Ok(services) => services.iter().map(describe).collect::<Vec<_>>().join("  "),
        Err(_) => "down".into(),
    };
    println!("{:<10} {services}", machine.name);
}

fn describe(service: &Running) -> String {
    let state = if service.pid == 0 { " (down)".into() } else { String::new() };
    let restarts = if service.restarts > 0 { format!(" (restarted {}x)", service.restarts) } else { String::new() };
    format!("{}{state}{restarts}", service.name)
}
