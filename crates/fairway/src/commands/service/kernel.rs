//! What this machine's kernel holds of a Service.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as _;
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;

use compile::ruleset::{Element, ElementKey, Set, Value};
use compile::{NodePortAddresses, NodeView, Plan};
use datapath::nft::{NftError, Table};
use ipnet::IpNet;
use model::{Cluster, Name};
use nix::errno::Errno;
use serde_json::json;

/// The elements a Service should have in the kernel, each with whether it is there.
pub(super) struct KernelReport {
    pub(super) elements: Vec<(Name, String, bool)>,
}

impl KernelReport {
    pub(super) fn to_json(&self) -> serde_json::Value {
        let element =
            |(set, text, held): &(Name, String, bool)| json!({ "set": set.as_str(), "element": text, "held": held });
        serde_json::Value::Array(self.elements.iter().map(element).collect())
    }
}

/// Why this machine's kernel tells nothing of a node.
#[derive(Debug)]
pub(super) enum Unseen {
    /// It has no table of ours, or we have no right to see it.
    NoTable,
    /// It is not the kernel of this node, which is asked about.
    OtherNode(Name),
    /// It could not be asked.
    Failed(NftError),
}

impl fmt::Display for Unseen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTable => f.write_str("Run this on a node, as root, to see what its kernel holds."),
            Self::OtherNode(node) => {
                write!(f, "Run this on node {node}, as root, to see what its kernel holds; this machine is another.")
            }
            Self::Failed(error) => {
                write!(f, "What the kernel holds could not be read: {error}")?;
                error.source().map_or(Ok(()), |cause| write!(f, ": {cause}"))
            }
        }
    }
}

impl From<NftError> for Unseen {
    fn from(error: NftError) -> Self {
        if error.errno() == Some(Errno::EPERM) { Self::NoTable } else { Self::Failed(error) }
    }
}

/// The kernel of the node that is asked about: this machine is that node.
#[derive(Debug)]
pub(super) struct OwnKernel(Table);

/// What the node's agent was told and found out, as far as the kernel tells: the node's addresses, and which of them serve
/// node ports. As it was where this machine is another one, or its kernel cannot be asked.
pub(super) fn completed(view: NodeView, cluster: &Cluster) -> (NodeView, Result<OwnKernel, Unseen>) {
    match own_kernel(&view, cluster) {
        Ok((kernel, own, serving)) if serving.is_empty() => (NodeView { link_addresses: own, ..view }, Ok(kernel)),
        Ok((kernel, own, serving)) => {
            let node_port_addresses = NodePortAddresses::Within(serving);
            (NodeView { link_addresses: own, node_port_addresses, ..view }, Ok(kernel))
        }
        Err(unseen) => (view, Err(unseen)),
    }
}

/// This machine's kernel, with its addresses and those that serve the node port of some Service, when it is the node's:
/// it has every address that the Node tells.
fn own_kernel(view: &NodeView, cluster: &Cluster) -> Result<(OwnKernel, Vec<IpAddr>, Vec<IpNet>), Unseen> {
    let mut table = Table::open()?;
    if !table.exists()? {
        return Err(Unseen::NoTable);
    }
    let plan = Plan::of(view.clone(), cluster);
    let own = keys(&mut table, &plan, ["own", "own6"])?;
    let own: Vec<IpAddr> = own.iter().filter_map(|key| address(key.first())).collect();
    let told = cluster.nodes.get(&view.name).map(|node| node.addresses.as_slice()).unwrap_or_default();
    if told.is_empty() || !told.iter().all(|address| own.contains(address)) {
        return Err(Unseen::OtherNode(view.name.clone()));
    }
    let ports = cluster.services.values().flat_map(|service| &service.ports);
    let node_ports: BTreeSet<u16> = ports.filter_map(|port| port.node_port).map(NonZeroU16::get).collect();
    let services = keys(&mut table, &plan, ["services", "services6"])?;
    let at_node_ports =
        services.iter().filter(|key| matches!(key.last(), Some(Value::Port(port)) if node_ports.contains(port)));
    let serving: BTreeSet<IpAddr> = at_node_ports.filter_map(|key| address(key.first())).collect();
    let serving = own.iter().filter(|address| serving.contains(address)).map(|address| IpNet::from(*address)).collect();
    Ok((OwnKernel(table), own, serving))
}

/// The keys of both sets; of one that is not there, none.
fn keys(table: &mut Table, plan: &Plan, names: [&str; 2]) -> Result<Vec<Vec<Value>>, NftError> {
    let mut keys = Vec::new();
    for name in names.map(Name::from) {
        let Some(set) = plan.ruleset().sets.get(&name) else { continue };
        let elements = table.read_set(&name, &set.spec)?.unwrap_or_default();
        keys.extend(elements.keys().filter_map(|key| match key {
            ElementKey::Exact(values) => Some(values.to_vec()),
            ElementKey::Range(..) => None,
        }));
    }
    Ok(keys)
}

fn address(value: Option<&Value>) -> Option<IpAddr> {
    match value {
        Some(Value::Ipv4Address(address)) => Some((*address).into()),
        Some(Value::Ipv6Address(address)) => Some((*address).into()),
        _ => None,
    }
}

impl OwnKernel {
    /// Looks for the elements. Of a set that is not there, all are missing.
    pub(super) fn compare(mut self, wanted: &BTreeMap<Name, (Set, Vec<Element>)>) -> Result<KernelReport, Unseen> {
        let mut elements = Vec::new();
        for (name, (set, wanted)) in wanted {
            let held = self.0.read_set(name, &set.spec)?.unwrap_or_default();
            let is_held = |element: &Element| held.get(&element.key) == Some(&element.content);
            elements.extend(wanted.iter().map(|element| (name.clone(), element.to_string(), is_held(element))));
        }
        Ok(KernelReport { elements })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use compile::ruleset::Operation;
    use compile::sample::plain_cluster;
    use datapath::testing::isolated;
    use datapath::{Datapath, Wanted};
    use model::Node;

    use super::*;

    /// A cluster of two nodes with one Service, of which n1 is this machine.
    fn cluster() -> Cluster {
        let mut cluster = plain_cluster(1, 2);
        for (name, last) in [("n1", 1), ("n2", 2)] {
            let addresses = vec![[10, 89, 0, last].into()];
            let node = Node {
                name: name.into(),
                uid: name.into(),
                created: Duration::ZERO,
                addresses,
                pod_cidrs: vec![],
                has_refused_range: false,
                leaving: false,
                labels: BTreeMap::default(),
            };
            cluster.nodes.insert(name.into(), node.into());
        }
        cluster
    }

    /// What is held of the one Service, or why that is not known, when `node` is asked about.
    fn seen(node: &str, cluster: &Cluster) -> Result<Vec<bool>, String> {
        let (view, kernel) = completed(NodeView::new(node), cluster);
        let plan = Plan::of(view, cluster);
        let service = cluster.services.keys().next().unwrap();
        let report = kernel.and_then(|kernel| kernel.compare(&plan.elements_of(service)));
        report.map(|report| report.elements.iter().map(|(.., held)| *held).collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_kernel_is_compared_with_the_plan_of_its_own_node_only() {
        isolated(|| {
            let cluster = cluster();
            assert!(seen("n1", &cluster).unwrap_err().starts_with("Run this on a node"), "there is no table");
            let plan = Plan::of(NodeView::new("n1"), &cluster);
            Datapath::open().unwrap().apply(&Wanted::from(&plan)).unwrap();
            let held = seen("n1", &cluster).unwrap();
            assert!(!held.is_empty() && held.iter().all(|held| *held), "{held:?}");
            assert!(seen("n2", &cluster).unwrap_err().starts_with("Run this on node n2"));
        });
    }

    #[test]
    fn what_a_damaged_table_lacks_is_missing() {
        isolated(|| {
            let cluster = cluster();
            let full = Plan::of(NodeView::new("n1"), &cluster);
            let mut damaged = full.ruleset().clone();
            for chain in damaged.chains.values_mut() {
                chain.rules = [].into();
            }
            damaged.sets.retain(|name, _| name.as_str().starts_with("own"));
            let operations = compile::diff(&compile::ruleset::Ruleset::default(), &damaged);
            Table::open().unwrap().apply(&operations).unwrap();
            let held = seen("n1", &cluster).unwrap();
            assert!(!held.is_empty() && held.iter().all(|held| !held), "{held:?}");
            Table::open().unwrap().apply(&[Operation::DeleteTable]).unwrap();
            assert!(seen("n1", &cluster).unwrap_err().starts_with("Run this on a node"));
        });
    }
}
