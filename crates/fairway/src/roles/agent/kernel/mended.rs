//! What others changed on the node and the agent put right at once, in words.

use std::fmt;

use cni::Damage;
use model::IpFamily;

/// How many pods are named.
const NAMED_MAX: usize = 3;

/// Something that was not as it had been made, and is again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Mended {
    /// The node's side of what connects these pods; at least one.
    Pods(Vec<Damage>),
    /// That the node passes on packets of this family.
    Forwarding(IpFamily),
}

impl fmt::Display for Mended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let damages = match self {
            Self::Pods(damages) => damages,
            Self::Forwarding(family) => {
                return write!(f, "something had the node pass on no {family} packets any more");
            }
        };
        // All of it may be more than an event can hold.
        let first = |damage: &Damage| format!("{}: {}", damage.owner, damage.faults.first().map_or("", |fault| fault));
        let named: Vec<String> = damages.iter().take(NAMED_MAX).map(first).collect();
        let more = if damages.len() > named.len() { ", ..." } else { "" };
        let pods = if damages.len() == 1 { "pod" } else { "pods" };
        write!(f, "something changed how {} {pods} of this node are reached: {}{more}", damages.len(), named.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_pods_some_are_named() {
        let damage = |number: u8| Damage {
            owner: format!("shop/cart-{number}"),
            faults: vec![format!("the host has no route to 10.244.1.{number}"), "more".to_owned()],
        };
        let told = Mended::Pods((1..=250).map(damage).collect()).to_string();
        assert_eq!(
            told,
            "something changed how 250 pods of this node are reached: \
             shop/cart-1: the host has no route to 10.244.1.1, \
             shop/cart-2: the host has no route to 10.244.1.2, \
             shop/cart-3: the host has no route to 10.244.1.3, ..."
        );
    }
}
