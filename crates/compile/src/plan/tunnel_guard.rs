//! What keeps others than the cluster's nodes from sending into the tunnel.
//!
//! The kernel takes any VXLAN packet with the right number for a node's, whoever sent it, and what is inside would then
//! pass for a pod's. So packets to this node's end are dropped before they are unpacked unless one of the other nodes'
//! addresses is their source.

use std::collections::BTreeMap;

use model::{IpFamily, Name, Protocol};

use super::layout::{destination_port, source};
use super::network::Network;
use crate::ruleset::{
    BaseHook, Chain, ChainKind, Comparison, ElementKey, FieldType, Hook, Load, MetaField, Policy, Rule, Ruleset, Set,
    SetSpec, Statement, Value, Verdict,
};

/// Names of the part, which are in the table only while there is a tunnel, and of the sets one.
pub(super) const CHAIN: &str = "tunnel_guard";
pub(super) const SETS: [&str; 2] = [set(IpFamily::V4), set(IpFamily::V6)];

/// As early as what pods send under others' addresses is dropped: nothing is to track these packets either.
const PRIORITY: i32 = -300;

const fn set(family: IpFamily) -> &'static str {
    match family {
        IpFamily::V4 => "nodes",
        IpFamily::V6 => "nodes6",
    }
}

/// The part of the table that guards the tunnel; empty when there is none.
pub(super) fn ruleset(network: &Network) -> Ruleset {
    let Some(tunnel) = &network.tunnel else { return Ruleset::default() };
    let family = IpFamily::of(tunnel.endpoint);
    let is = |load, value| Statement::Match(load, Comparison::Equal, value);
    let rule = Rule::new([
        is(Load::Meta(MetaField::Family), Value::Family(family)),
        is(Load::Meta(MetaField::Protocol), Value::Protocol(Protocol::Udp.number())),
        is(destination_port(), Value::Port(tunnel.port.get())),
        Statement::DestinationIsLocal,
        Statement::InSet { key: vec![source(family)], set: set(family).into(), negate: true },
        Statement::Verdict(Verdict::Drop),
    ]);
    let hook = BaseHook { kind: ChainKind::Filter, hook: Hook::Prerouting, priority: PRIORITY, policy: Policy::Accept };
    let spec = SetSpec { key: vec![FieldType::address(family)], data: None, interval: false, dynamic: None };
    let of_family = network.other_nodes.iter().filter(|address| IpFamily::of(**address) == family);
    let key = |address: &std::net::IpAddr| ElementKey::Exact([Value::from(*address)].into());
    let nodes = Set { elements: of_family.map(|address| (key(address), None)).collect(), ..Set::new(spec) };
    Ruleset {
        sets: BTreeMap::from([(Name::from(set(family)), nodes)]),
        chains: BTreeMap::from([(Name::from(CHAIN), Chain { hook: Some(hook), rules: [rule].into() })]),
    }
}
