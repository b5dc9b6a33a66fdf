//! What gives the node's own connections an address by which answers come back through the tunnel.
//!
//! What a node sends to a pod behind the tunnel comes from the node's address on it, as the route there prefers that. But
//! the source of a connection to a Service is chosen before its destination is translated, and a process may choose its
//! own: the answer to such an address would come around the tunnel, from a network that does not know pods.

use model::{IpFamily, Name};

use super::layout::{SetKind, in_set, masquerade, rule_of, source};
use super::{TUNNEL_DEVICE, Tunnel};
use crate::ruleset::{
    BaseHook, Chain, ChainKind, Comparison, Hook, InterfaceName, Load, MetaField, Policy, Rule, Statement, Value,
};

/// The name of the chain, which is in the table only while there is a tunnel.
pub(super) const CHAIN: &str = "tunnel_source";

/// Behind what else decides of sources (`NF_IP_PRI_NAT_SRC`).
const PRIORITY: i32 = 101;

/// The chain.
pub(super) fn chain(tunnel: &Tunnel) -> (Name, Chain) {
    let hook = BaseHook { kind: ChainKind::Nat, hook: Hook::Postrouting, priority: PRIORITY, policy: Policy::Accept };
    let rules = [IpFamily::V4, IpFamily::V6].into_iter().filter_map(|family| rule(tunnel, family)).collect();
    (CHAIN.into(), Chain { hook: Some(hook), rules })
}

/// The rule for a family; none when the node has no address of it on the tunnel.
fn rule(tunnel: &Tunnel, family: IpFamily) -> Option<Rule> {
    let device = InterfaceName::new(TUNNEL_DEVICE).map(Value::Interface)?;
    let mut right = tunnel.addresses.iter().filter(|address| IpFamily::of(**address) == family).peekable();
    right.peek()?;
    let is_other =
        |address: &std::net::IpAddr| Statement::Match(source(family), Comparison::NotEqual, (*address).into());
    let leaves = Statement::Match(Load::Meta(MetaField::OutputInterface), Comparison::Equal, device);
    let is_own = in_set(vec![source(family)], SetKind::Own, family, false);
    Some(rule_of(family, [leaves, is_own].into_iter().chain(right.map(is_other)).chain([masquerade()])))
}
