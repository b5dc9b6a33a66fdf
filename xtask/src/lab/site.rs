//! One lab: its name, its folder and the addresses in it.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
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
/// Its address where there are two families.
pub const CONTROL_IPV6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x10, 0x77, 0, 0, 0, 0, 1);
/// The API server as a Service.
pub const API_SERVICE: &str = "10.96.0.1";
/// The ranges of each family: pods, Services.
const IPV4_RANGES: [&str; 2] = ["10.244.0.0/16", "10.96.0.0/16"];
const IPV6_RANGES: [&str; 2] = ["fd00:10:244::/56", "fd00:10:96::/112"];
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
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// How many nodes.
    pub nodes: usize,
    /// What its network is.
    pub stack: Stack,
    /// Which addresses it has.
    pub families: Families,
    /// What Fairway is installed with, as `NAME=VALUE`.
    pub settings: Vec<String>,
    /// Over how many zones the nodes are spread in turn; none knows of zones when there are none.
    pub zones: usize,
}

/// The address families of a lab.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Families {
    /// IPv4 alone.
    #[default]
    Ipv4,
    /// IPv4, which is preferred, and IPv6.
    Dual,
}

impl Families {
    /// The families of that name.
    pub fn of_name(name: &str) -> Result<Self> {
        match name {
            "ipv4" => Ok(Self::Ipv4),
            "dual" => Ok(Self::Dual),
            other => bail!("no families {other:?}: ipv4 or dual"),
        }
    }

    /// The addresses of pods, as programs take them.
    pub fn pod_ranges(self) -> String {
        self.ranges(0)
    }

    /// The addresses of Services.
    pub fn service_ranges(self) -> String {
        self.ranges(1)
    }

    fn ranges(self, kind: usize) -> String {
        match self {
            Self::Ipv4 => IPV4_RANGES[kind].to_owned(),
            Self::Dual => format!("{},{}", IPV4_RANGES[kind], IPV6_RANGES[kind]),
        }
    }
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
    pub fn nodes(&self, shape: &Shape) -> Vec<Node> {
        (1..=shape.nodes).map(|number| Node::new(self, shape, number)).collect()
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// Remembers the shape for later commands.
    pub fn write_shape(&self, shape: &Shape) -> Result<()> {
        fs::write(self.folder.join("lab.json"), serde_json::to_vec(shape)?).context("cannot write lab.json")
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
    pub fn new(nodes: usize, stack: Stack, families: Families) -> Result<Self> {
        if !(1..=MOST_NODES).contains(&nodes) {
            bail!("{nodes} nodes: between 1 and {MOST_NODES} are possible");
        }
        Ok(Self { nodes, stack, families, settings: Vec::new(), zones: 0 })
    }
}

/// A node of a lab.
#[derive(Clone)]
pub struct Node {
    /// Its machine; the node's name in the cluster is the machine's.
    pub machine: Machine,
    /// Its addresses on the bridge, the preferred first.
    pub addresses: Vec<IpAddr>,
    /// Its own cgroup, in every hierarchy.
    pub cgroup: String,
    /// The zone it is in, if it knows of one.
    pub zone: Option<String>,
}

impl Node {
    fn new(site: &Site, shape: &Shape, number: usize) -> Self {
        let machine = site.machine(&format!("node-{number}"));
        let cgroup = format!("{}{number}", cgroup_prefix(site));
        let after = u32::try_from(9 + number).unwrap_or(u32::MAX);
        let ipv4 = Ipv4Addr::from(u32::from(CONTROL) + after);
        let ipv6 = Ipv6Addr::from(u128::from(CONTROL_IPV6) + u128::from(after));
        let zone = (number - 1).checked_rem(shape.zones).map(|zone| format!("zone-{}", zone + 1));
        let addresses = match shape.families {
            Families::Ipv4 => vec![ipv4.into()],
            Families::Dual => vec![ipv4.into(), ipv6.into()],
        };
        Self { machine, addresses, cgroup, zone }
    }

    /// Its addresses, as programs take them.
    pub fn address_list(&self) -> String {
        self.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
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
        let nodes = site.nodes(&Shape::new(2, Stack::Reference, Families::Dual).unwrap());
        let told: Vec<_> = nodes.iter().map(|node| (node.name(), node.address_list(), &*node.cgroup)).collect();
        let node = |name, address: &str, cgroup| (name, address.to_owned(), cgroup);
        assert_eq!(
            told,
            [
                node("node-1", "10.77.0.11,fd00:10:77::b", "fairway-lab-x-node-1"),
                node("node-2", "10.77.0.12,fd00:10:77::c", "fairway-lab-x-node-2")
            ]
        );
    }

    #[test]
    fn nodes_take_turns_in_zones() {
        let site = Site { name: "x".into(), folder: "/f".into() };
        let zones = |zones| {
            let shape = Shape { zones, ..Shape::new(4, Stack::Reference, Families::Ipv4).unwrap() };
            site.nodes(&shape).into_iter().map(|node| node.zone).collect::<Option<Vec<_>>>()
        };
        assert_eq!(zones(3).unwrap(), ["zone-1", "zone-2", "zone-3", "zone-1"]);
        assert_eq!(zones(0), None);
    }

    #[test]
    fn a_name_that_could_be_a_path_is_refused() {
        assert!(Site::of_name("../x").is_err());
        assert!(Site::of_name("").is_err());
    }
}
