//! What keeps pods from sending under addresses that are not theirs: a part of the table that depends on no other.
//!
//! The CNI plugin makes a route to each address of a pod, to the pod's link and no other. So a packet that came in by a
//! pod's link has the pod's source exactly when an answer would leave by the same link; the kernel is asked that about
//! every packet from a pod, and there is nothing to keep up to date.

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
