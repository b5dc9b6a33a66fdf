//! A packet's way through a ruleset, as the kernel would take it.
//!
//! Answers from the rules alone: it knows nothing of Services. Every random choice is tried, so the outcome names all
//! endpoints the kernel may choose.

mod machine;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use model::Name;

use crate::packet::{Entry, Outcome, Packet, SourceNat};
use crate::plan::Route;
use crate::ruleset::{Hook, Ruleset};
use machine::{End, Machine};

/// A ruleset that the kernel would refuse, or that does not do the same for every random choice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// A rule or element names a chain that is not there.
    #[error("no chain {0}")]
    NoChain(Name),
    /// A rule names a set that is not there.
    #[error("no set {0}")]
    NoSet(Name),
    /// A key has fields of other types than the set's.
    #[error("key of another type than that of set {0}")]
    KeyType(Name),
    /// Data of another kind than the rule needs.
    #[error("data of the wrong kind in map {0}")]
    DataType(Name),
    /// Chains jump to each other deeper than the kernel allows.
    #[error("jumps nest deeper than {0}")]
    TooDeep(usize),
    /// One random choice leads to an endpoint, another elsewhere.
    #[error("the outcome is {first:?} or {other:?} by chance")]
    Ambiguous {
        /// What the first choice led to.
        first: Box<Outcome>,
        /// What another one led to.
        other: Box<Outcome>,
    },
}

/// What a ruleset is asked on: what the kernel knows beside it.
#[derive(Clone, Copy, Debug)]
pub struct Host<'a> {
    /// The addresses the node has.
    pub addresses: &'a [IpAddr],
    /// Its routes for pod addresses.
    pub routes: &'a [Route],
}

/// What `ruleset` makes of the first packet of a connection on a node.
pub fn trace(ruleset: &Ruleset, host: Host<'_>, packet: &Packet) -> Result<Outcome, TraceError> {
    let (mut outcome, choices) = trace_once(ruleset, host, packet, 0)?;
    for draw in 1..choices {
        let (other, _) = trace_once(ruleset, host, packet, draw)?;
        outcome = merge(outcome, other)?;
    }
    Ok(outcome)
}

/// The outcome when every random number is `draw` modulo its range, and how many different draws matter.
fn trace_once(ruleset: &Ruleset, host: Host<'_>, packet: &Packet, draw: u32) -> Result<(Outcome, u32), TraceError> {
    let mut machine = Machine::new(ruleset, host, packet, draw);
    let outcome = match enter(&mut machine, host, packet)? {
        Some(stopped) => stopped,
        None => arrived(&machine),
    };
    Ok((outcome, machine.choices))
}

/// Takes the packet through its hooks; an outcome when it does not reach the end of its way.
fn enter(machine: &mut Machine<'_>, host: Host<'_>, packet: &Packet) -> Result<Option<Outcome>, TraceError> {
    let first = if packet.entered == Entry::Host { Hook::Output } else { Hook::Prerouting };
    if let Some(stopped) = pass(machine, first)? {
        return Ok(Some(stopped));
    }
    let rest: &[Hook] = match packet.entered {
        Entry::Host => &[Hook::Postrouting],
        _ if host.addresses.contains(&machine.destination.ip()) => &[Hook::Input],
        _ => &[Hook::Forward, Hook::Postrouting],
    };
    for hook in rest {
        if let Some(stopped) = pass(machine, *hook)? {
            return Ok(Some(stopped));
        }
    }
    Ok(None)
}

/// Runs the base chains of a hook in their order; an outcome when one of them ends the packet's way.
fn pass(machine: &mut Machine<'_>, hook: Hook) -> Result<Option<Outcome>, TraceError> {
    for chain in machine.base_chains(hook) {
        match machine.run(&chain)? {
            End::Accept => {}
            End::Drop => return Ok(Some(Outcome::Dropped)),
            End::Refuse => return Ok(Some(Outcome::Refused)),
        }
    }
    Ok(None)
}

fn arrived(machine: &Machine<'_>) -> Outcome {
    let source = if machine.masqueraded { SourceNat::Masqueraded } else { SourceNat::Kept };
    if machine.translated {
        let affinity: Option<Duration> = machine.remembered;
        Outcome::Balanced { endpoints: BTreeMap::from([(machine.destination, source)]), affinity }
    } else {
        Outcome::Passed { source }
    }
}

fn merge(first: Outcome, other: Outcome) -> Result<Outcome, TraceError> {
    match (first, other) {
        (Outcome::Balanced { mut endpoints, affinity: a }, Outcome::Balanced { endpoints: more, affinity: b })
            if a == b && agree(&endpoints, &more) =>
        {
            endpoints.extend(more);
            Ok(Outcome::Balanced { endpoints, affinity: a })
        }
        (first, other) if first == other => Ok(first),
        (first, other) => Err(TraceError::Ambiguous { first: Box::new(first), other: Box::new(other) }),
    }
}

/// Whether endpoints that both have are treated alike.
fn agree(a: &BTreeMap<SocketAddr, SourceNat>, b: &BTreeMap<SocketAddr, SourceNat>) -> bool {
    b.iter().all(|(endpoint, source)| a.get(endpoint).is_none_or(|other| other == source))
}
