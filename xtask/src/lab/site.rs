//! One lab: its name, its folder and the addresses in it.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::cache::user_folder;
use super::machine::Machine;
use super::stack::Stack;

/// The machine of the control plane, on the bridge that all nodes are on. Every lab has a network of its own, so all
/// of them use these.
pub const CONTROL: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// Where the API server listens.
pub const API_PORT: u16 = 6443;
/// The addresses of pods.
pub const POD_CIDR: &str = "10.244.0.0/16";
/// The addresses of Services.
pub const SERVICE_CIDR: &str = "10.96.0.0/16";
/// The API server as a Service.
pub const API_SERVICE: &str = "10.96.0.1";
/// The DNS server as a Service.
pub const DNS_SERVICE: &str = "10.96.0.10";
/// The domain of the cluster.
pub const CLUSTER_DOMAIN: &str = "cluster.local";
/// Addresses end with 11, 12, ...
const MOST_NODES: usize = 200;

/// A lab on this machine.
#[derive(Clone)]
pub struct Site {
    /// Its name; several labs can run side by side.
    pub name: String,
    /// Everything of it that is a file.
    pub folder: PathBuf,
}

/// What a lab was made as.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// How many nodes.
    pub nodes: usize,
    /// What its network is.
    pub stack: Stack,
}

impl Site {
    /// The lab of that name, whether it is there or not.
    pub fn of_name(name: &str) -> Result<Self> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > 20 || !name.chars().all(fits) {
            bail!("{name:?} is no name for a lab: up to 20 of a-z, 0-9 and -");
        }
        let folder = user_folder("XDG_STATE_HOME", ".local/state")?.join("fairway-lab").join(name);
        Ok(Self { name: name.to_owned(), folder })
    }

    /// The machine the control plane runs on.
    pub fn control(&self) -> Machine {
        self.machine("control")
    }

    /// The nodes of a lab of that shape.
    pub fn nodes(&self, shape: Shape) -> Vec<Node> {
        (1..=shape.nodes).map(|number| Node::new(self, number)).collect()
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// Remembers the shape for later commands.
    pub fn write_shape(&self, shape: Shape) -> Result<()> {
        fs::write(self.folder.join("lab.json"), serde_json::to_vec(&shape)?).context("cannot write lab.json")
    }

    /// The shape of a lab that is up.
    pub fn read_shape(&self) -> Result<Shape> {
        let Ok(text) = fs::read(self.folder.join("lab.json")) else {
            bail!("no lab {:?} is up; `cargo xtask lab up` makes one", self.name);
        };
        serde_json::from_slice(&text).context("lab.json is damaged; `cargo xtask lab down` clears the way")
    }

    fn machine(&self, name: &str) -> Machine {
        Machine { name: name.to_owned(), folder: self.folder.join(name) }
    }
}

impl Shape {
    /// A lab of so many nodes.
    pub fn new(nodes: usize, stack: Stack) -> Result<Self> {
        if !(1..=MOST_NODES).contains(&nodes) {
            bail!("{nodes} nodes: between 1 and {MOST_NODES} are possible");
        }
        Ok(Self { nodes, stack })
    }
}

/// A node of a lab.
#[derive(Clone)]
pub struct Node {
    /// Its machine; the node's name in the cluster is the machine's.
    pub machine: Machine,
    /// Its address on the bridge.
    pub address: Ipv4Addr,
    /// Its own cgroup, in every hierarchy.
    pub cgroup: String,
}

impl Node {
    fn new(site: &Site, number: usize) -> Self {
        let machine = site.machine(&format!("node-{number}"));
        let cgroup = format!("{}{number}", cgroup_prefix(site));
        let last = u32::try_from(10 + number).unwrap_or(u32::MAX);
        let address = Ipv4Addr::from(u32::from(CONTROL) - 1 + last);
        Self { machine, address, cgroup }
    }

    /// The node's name in the cluster.
    pub fn name(&self) -> &str {
        &self.machine.name
    }
}

/// What the names of the nodes' cgroups begin with; the node's number follows.
pub fn cgroup_prefix(site: &Site) -> String {
    format!("fairway-lab-{}-node-", site.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_numbered_from_11_beside_the_control_plane() {
        let site = Site { name: "x".into(), folder: "/f".into() };
        let nodes = site.nodes(Shape { nodes: 2, stack: Stack::Reference });
        let told: Vec<_> = nodes.iter().map(|node| (node.name(), node.address.to_string(), &*node.cgroup)).collect();
        let node = |name, address: &str, cgroup| (name, address.to_owned(), cgroup);
        assert_eq!(
            told,
            [
                node("node-1", "10.77.0.11", "fairway-lab-x-node-1"),
                node("node-2", "10.77.0.12", "fairway-lab-x-node-2")
            ]
        );
    }

    #[test]
    fn a_name_that_could_be_a_path_is_refused() {
        assert!(Site::of_name("../x").is_err());
        assert!(Site::of_name("").is_err());
    }
}
