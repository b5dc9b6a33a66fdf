//! What addresses and ranges of the network are, for people who list the table.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use model::{Cluster, Name};

use super::NodeView;
use crate::ruleset::{Note, several};

/// The objects behind addresses and ranges: nodes, their pods, and what the settings tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Labels(BTreeMap<IpNet, Name>);

impl Labels {
    pub(super) fn of(view: &NodeView, cluster: &Cluster) -> Self {
        let mut names: BTreeMap<IpNet, BTreeSet<Name>> = BTreeMap::new();
        let mut add = |range: IpNet, name: &Name| {
            names.entry(range.trunc()).or_default().insert(name.clone());
        };
        for node in cluster.nodes.values() {
            let (itself, pods) = (of_node(&node.name), format!("pods of node {}", node.name).into());
            node.addresses.iter().for_each(|address| add(IpNet::from(*address), &itself));
            node.pod_cidrs.iter().for_each(|range| add(*range, &pods));
        }
        let own = of_node(&view.name);
        view.link_addresses.iter().for_each(|address| add(IpNet::from(*address), &own));
        view.pod_ranges.iter().for_each(|range| add(*range, &"pods".into()));
        view.service_ranges.iter().for_each(|range| add(*range, &"Services".into()));
        Self(names.into_iter().filter_map(|(range, names)| Some((range, several(&names)?))).collect())
    }

    /// What a range is, when something told of it.
    pub(super) fn of_range(&self, range: IpNet) -> Option<Note> {
        self.0.get(&range.trunc()).cloned().map(Note::new)
    }

    /// What an address is, when something told of it.
    pub(super) fn of_address(&self, address: IpAddr) -> Option<Note> {
        self.of_range(address.into())
    }
}

fn of_node(node: &Name) -> Name {
    format!("node {node}").into()
}
