//! What keeps others than the cluster's nodes from sending into the tunnel.
//!
//! The kernel takes any VXLAN packet with the right number for a node's, whoever sent it, and what is inside would then
//! pass for a pod's. So packets to this node's end are dropped before they are unpacked unless one of the other nodes'
//! addresses is their source. What pods send to nodes behind the tunnel leaves with this node's address and would pass
//! there, so packets to the other ends are dropped on their way out unless a node sent them. Both are asked after
//! destinations are translated: no Service leads into the tunnel.

use std::collections::BTreeMap;

use model::{IpFamily, Name, Protocol};

use super::layout::{destination, destination_port, rule_of, source};
use super::network::Network;
use crate::ruleset::{
    BaseHook, Chain, ChainKind, Comparison, Content, ElementKey, FieldType, Hook, Load, MetaField, Policy, Ruleset,
    Set, SetSpec, Statement, Value, Verdict,
};

/// Names of the part, which are in the table only while there is a tunnel, and of the sets one.
pub(super) const CHAINS: [&str; 2] = [ARRIVING, PASSING];
pub(super) const SETS: [&str; 2] = [set(IpFamily::V4), set(IpFamily::V6)];

/// The chain for this node's end of the tunnel.
const ARRIVING: &str = "tunnel_guard";
/// The chain for the other nodes' ends.
const PASSING: &str = "tunnel_guard_forward";

/// Before the chains that refuse (`NF_IP_PRI_FILTER`): strangers get no answer. Connection tracking keeps nothing of what
/// is dropped in these hooks.
const PRIORITY: i32 = -10;

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
    let of_nodes = |load, negate| Statement::InSet { key: vec![load], set: set(family).into(), negate };
    let guard = |hook, is_for_end: Option<Statement>| {
        let is = |load, value| Statement::Match(load, Comparison::Equal, value);
        let is_for_tunnel = [
            is(Load::Meta(MetaField::Protocol), Value::Protocol(Protocol::Udp.number())),
            is(destination_port(), Value::Port(tunnel.port.get())),
        ];
        let of_stranger = [of_nodes(source(family), true), Statement::Verdict(Verdict::Drop)];
        let rule = rule_of(family, is_for_tunnel.into_iter().chain(is_for_end).chain(of_stranger));
        let base = BaseHook { kind: ChainKind::Filter, hook, priority: PRIORITY, policy: Policy::Accept };
        Chain { hook: Some(base), rules: [rule].into() }
    };
    let arriving = guard(Hook::Input, None);
    let passing = guard(Hook::Forward, Some(of_nodes(destination(family), false)));
    let spec = SetSpec { key: vec![FieldType::address(family)], data: None, interval: false, dynamic: None };
    let of_family = network.other_nodes.iter().filter(|address| IpFamily::of(**address) == family);
    let key = |address: &std::net::IpAddr| ElementKey::Exact([Value::from(*address)].into());
    let nodes = Set {
        elements: of_family
            .map(|address| (key(address), Content { data: None, note: network.labels.of_address(*address) }))
            .collect(),
        ..Set::new(spec)
    };
    Ruleset {
        sets: BTreeMap::from([(Name::from(set(family)), nodes)]),
        chains: BTreeMap::from([(Name::from(ARRIVING), arriving), (Name::from(PASSING), passing)]),
    }
}
