//! What is killed.

use std::fmt;
use std::process::Command;

use anyhow::Result;

use crate::lab::machine::Machine;
use crate::lab::process_table::{ProcessTable, command_line};
use crate::lab::site::{Node, Site};
use crate::process::run;

/// A program on a machine.
pub struct Victim {
    machine: Machine,
    /// The program, as the kernel names its process.
    program: &'static str,
    /// The role of a program that has several: its first argument.
    role: Option<&'static str>,
}

/// Every program whose death must not be noticed.
pub fn all(site: &Site, nodes: &[Node]) -> Vec<Victim> {
    const ON_NODES: [(&str, Option<&str>); 5] = [
        ("fairway", Some("agent")),
        ("fairway", Some("dns")),
        ("fairway", Some("controller")),
        ("kubelet", None),
        ("containerd", None),
    ];
    let on_nodes = nodes.iter().flat_map(|node| ON_NODES.map(|(program, role)| (node.machine.clone(), program, role)));
    // Names of processes are cut after 15 letters.
    let on_control =
        ["kube-apiserver", "kube-controller", "kube-scheduler", "etcd"].map(|name| (site.control(), name, None));
    let victims = on_nodes.chain(on_control);
    victims.map(|(machine, program, role)| Victim { machine, program, role }).collect()
}

/// The agent of a node.
pub fn agent_of(node: &Node) -> Victim {
    Victim { machine: node.machine.clone(), program: "fairway", role: Some("agent") }
}

impl Victim {
    /// Whether it is one that answers names.
    pub fn is_dns_server(&self) -> bool {
        self.role == Some("dns")
    }

    /// Its processes on this host.
    pub fn processes(&self) -> Result<Vec<u32>> {
        let table = ProcessTable::read()?;
        let running = table.of_machine(&self.machine)?.into_iter();
        let found = running.filter(|(_, process)| process.name == self.program).map(|(id, _)| id);
        let has_role =
            |id: &u32| self.role.is_none_or(|role| command_line(*id).get(1).is_some_and(|word| word == role));
        Ok(found.filter(has_role).collect())
    }

    /// Kills these processes of it.
    pub fn kill(&self, processes: &[u32]) -> Result<()> {
        run(Command::new("kill").arg("-KILL").args(processes.iter().map(u32::to_string)))
    }
}

impl fmt::Display for Victim {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {} on {}", self.program, self.role.unwrap_or_default(), self.machine.name)
    }
}
