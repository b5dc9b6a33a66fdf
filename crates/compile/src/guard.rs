//! What keeps pods from sending under addresses that are not theirs: a part of the table that depends on no other.
//!
//! The CNI plugin makes a route to each address of a pod, to the pod's link and no other. So a packet that came in by a
//! pod's link has the pod's source exactly when an answer would leave by the same link; the kernel is asked that about
//! every packet from a pod, and there is nothing to keep up to date.
//!
//! It is about a thirtieth of what a byte to and fro between two pods of a node costs. A set of links and addresses in
//! place of the routes costs as much: half of it is the chain, whatever it asks. `rp_filter` would cost less, but drops
//! only after connection tracking saw the packet, so that a forged reset would end others' connections, and knows
//! IPv4 alone.

use std::collections::BTreeMap;

use crate::ruleset::{
    BaseHook, Chain, ChainKind, Comparison, Hook, InterfaceName, Load, MetaField, Policy, Rule, Ruleset, Statement,
    Value, Verdict,
};

/// The names of pods' links on their node begin with this.
pub const POD_LINKS: &str = "fwp";

/// Before connection tracking (`NF_IP_PRI_RAW`): what is dropped here leaves no trace there.
const PRIORITY: i32 = -300;

/// The part of the table that drops spoofed packets.
pub fn ruleset() -> Ruleset {
    let from_pods = InterfaceName::new(POD_LINKS).map(|prefix| {
        Statement::Match(Load::Meta(MetaField::InputInterface), Comparison::Equal, Value::InterfacePrefix(prefix))
    });
    let rule = from_pods
        .map(|from_pods| Rule::new([from_pods, Statement::SourceIsSpoofed, Statement::Verdict(Verdict::Drop)]));
    let hook = BaseHook { kind: ChainKind::Filter, hook: Hook::Prerouting, priority: PRIORITY, policy: Policy::Accept };
    let chain = Chain { hook: Some(hook), rules: rule.into_iter().collect() };
    Ruleset { sets: BTreeMap::new(), chains: BTreeMap::from([("spoofing_guard".into(), chain)]) }
}
