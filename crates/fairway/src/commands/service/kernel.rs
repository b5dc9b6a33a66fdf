//! What this machine's kernel holds of a Service.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU16;

use compile::ruleset::{Element, ElementKey, Set, Value};
use compile::{NodePortAddresses, NodeView, Plan};
use datapath::nft::Table;
use ipnet::IpNet;
use model::{Cluster, Name};
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

/// What the node's agent was told and found out, as far as the kernel tells: the node's addresses, and which of them serve
/// node ports. As it was where this machine is another one, or has no table of ours.
pub(super) fn completed(view: NodeView, cluster: &Cluster) -> NodeView {
    let told = cluster.nodes.get(&view.name).map(|node| node.addresses.clone()).unwrap_or_default();
    let Some((own, serving)) = addresses(&view, cluster) else { return view };
    if told.is_empty() || !told.iter().all(|address| own.contains(address)) {
        return view;
    }
    let node_port_addresses =
        if serving.is_empty() { view.node_port_addresses } else { NodePortAddresses::Within(serving) };
    NodeView { link_addresses: own, node_port_addresses, ..view }
}

/// The node's addresses, and those that serve the node port of some Service.
fn addresses(view: &NodeView, cluster: &Cluster) -> Option<(Vec<IpAddr>, Vec<IpNet>)> {
    let plan = Plan::of(view.clone(), cluster);
    let mut table = Table::open().ok()?;
    let mut keys_of = |names: [&str; 2]| {
        let mut keys = Vec::new();
        for name in names.map(Name::from) {
            let elements = table.read_set(&name, &plan.ruleset().sets.get(&name)?.spec).ok()??;
            keys.extend(elements.keys().filter_map(|key| match key {
                ElementKey::Exact(values) => Some(values.to_vec()),
                ElementKey::Range(..) => None,
            }));
        }
        Some(keys)
    };
    let own: Vec<IpAddr> = keys_of(["own", "own6"])?.iter().filter_map(|key| address(key.first())).collect();
    let ports = cluster.services.values().flat_map(|service| &service.ports);
    let node_ports: BTreeSet<u16> = ports.filter_map(|port| port.node_port).map(NonZeroU16::get).collect();
    let services = keys_of(["services", "services6"])?;
    let at_node_ports =
        services.iter().filter(|key| matches!(key.last(), Some(Value::Port(port)) if node_ports.contains(port)));
    let serving: BTreeSet<IpAddr> = at_node_ports.filter_map(|key| address(key.first())).collect();
    let serving = own.iter().filter(|address| serving.contains(address)).map(|address| IpNet::from(*address)).collect();
    Some((own, serving))
}

fn address(value: Option<&Value>) -> Option<IpAddr> {
    match value {
        Some(Value::Ipv4Address(address)) => Some((*address).into()),
        Some(Value::Ipv6Address(address)) => Some((*address).into()),
        _ => None,
    }
}

/// Looks for the elements; nothing where there is no table of ours or no right to see it.
pub(super) fn compare(wanted: &BTreeMap<Name, (Set, Vec<Element>)>) -> Option<KernelReport> {
    let mut table = Table::open().ok()?;
    let mut elements = Vec::new();
    for (name, (set, wanted)) in wanted {
        let held = table.read_set(name, &set.spec).ok()??;
        elements.extend(
            wanted
                .iter()
                .map(|element| (name.clone(), element.to_string(), held.get(&element.key) == Some(&element.data))),
        );
    }
    Some(KernelReport { elements })
}
