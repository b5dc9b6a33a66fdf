//! Rules: what is asked of a packet and done with it.

use std::num::NonZeroU32;
use std::time::Duration;

use model::{IpFamily, Name, fnv1a};

use super::{FieldType, Value};

/// A rule: its statements run in order until one does not match or gives a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it asks and does.
    pub statements: Vec<Statement>,
}

impl Rule {
    /// A rule of `statements`.
    pub fn new(statements: impl Into<Vec<Statement>>) -> Self {
        Self { statements: statements.into() }
    }

    /// A number that differs, but for a chance of 1 in 2^64, when what the rule does differs.
    ///
    /// The encoder keeps it in the rule's user data, so that rules read back can be recognised without decoding
    /// them. It is the 64-bit FNV-1a hash of the rule's text, the same in every build.
    pub fn fingerprint(&self) -> u64 {
        fnv1a(self.to_string().as_bytes())
    }
}

/// One step of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// Go on only if the comparison holds.
    Match(Load, Comparison, Value),
    /// Go on only if `load & bits` is not zero; for loads of 4 bytes in host order.
    AnyBit(Load, u32),
    /// Go on only if the set holds the key (or, with `negate`, only if it does not).
    InSet {
        /// The key, one load per field.
        key: Vec<Load>,
        /// The set; it has no data.
        set: Name,
        /// Whether the test is the other way round.
        negate: bool,
    },
    /// Go on only if the packet's destination is an address of this host (`fib daddr type local`).
    DestinationIsLocal,
    /// Go on only if an answer to the packet's source would not leave by the interface it came in by
    /// (`fib saddr . iif oif missing`).
    SourceIsSpoofed,
    /// Follow the verdict the map holds for the key (`vmap`); the rule ends here when it holds none.
    Branch {
        /// The key, one load per field.
        key: Vec<Load>,
        /// A map to verdicts.
        map: Name,
    },
    /// Follow the verdict.
    Verdict(Verdict),
    /// Set the packet's mark (`meta mark set`).
    SetMark(Load),
    /// Change a dynamic set (`add @set { key timeout T : data }`). The rule ends here when that fails.
    Update {
        /// What to change.
        change: SetUpdate,
        /// The dynamic set or map.
        set: Name,
        /// The key, one load per field.
        key: Vec<Load>,
        /// How long the element lives unless touched again; none for [`SetUpdate::Delete`].
        timeout: Option<Duration>,
        /// The data when it is a map, its fields one after the other. The kernel wants it for a deletion too, and
        /// does not look at it then.
        data: Vec<Load>,
    },
    /// Translate the destination or source to an address and a port; a final verdict.
    Nat {
        /// Which end.
        kind: NatKind,
        /// The family of the packet and of the address.
        family: IpFamily,
        /// Yields an address, then a port.
        to: Load,
    },
    /// Translate the source to the address of the interface the packet leaves by; a final verdict.
    Masquerade {
        /// Whether the source port is drawn at random, which avoids clashes between CPUs.
        fully_random: bool,
    },
    /// Refuse with an answer to the sender; a final verdict.
    Reject(RejectWith),
    /// Count packets and bytes.
    Counter,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Load {
    /// What the kernel knows of the packet.
    Meta(MetaField),
    /// A field of a header.
    Header(HeaderField),
    /// What connection tracking knows of the packet's connection; the rule ends when it knows none.
    Conntrack(ConntrackField),
    /// A random number in `offset..offset + modulus`, 4 bytes in host order (`numgen random mod M offset O`).
    Random {
        /// How many numbers there are.
        modulus: NonZeroU32,
        /// The lowest of them.
        offset: u32,
    },
    /// The data a map holds for a key; the rule ends when it holds none.
    Lookup {
        /// The key, one load per field.
        key: Vec<Load>,
        /// The map; its data are fields.
        map: Name,
        /// The types of those fields, which tell how wide the result is.
        yields: Vec<FieldType>,
    },
}

/// What the kernel knows of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetaField {
    /// The transport protocol, 1 byte (`meta l4proto`).
    Protocol,
    /// The network layer's family, 1 byte (`meta nfproto`).
    Family,
    /// The packet mark, 4 bytes in host order.
    Mark,
    /// The name of the interface it came in by, 16 bytes.
    InputInterface,
    /// The name of the interface it leaves by, 16 bytes.
    OutputInterface,
}

/// A field of a network or transport header. Ask for the family before a network header's field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderField {
    /// `ip saddr` or `ip6 saddr`.
    SourceAddress(IpFamily),
    /// `ip daddr` or `ip6 daddr`.
    DestinationAddress(IpFamily),
    /// `th sport`, 2 bytes.
    SourcePort,
    /// `th dport`, 2 bytes.
    DestinationPort,
}

/// What connection tracking knows of the packet's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConntrackField {
    /// `ct state`, bits in 4 bytes of host order: see [`conntrack_state`].
    State,
    /// `ct status`, bits in 4 bytes of host order: see [`conntrack_status`].
    Status,
    /// `ct direction`, 1 byte: whether the packet goes as the connection's first one did.
    Direction,
    /// `ct original ip daddr`: where the connection's first packet was sent, before any translation.
    OriginalDestination(IpFamily),
    /// `ct original proto-dst`: the port it was sent to, 2 bytes.
    OriginalDestinationPort,
}

/// Bits of [`ConntrackField::State`] (`NF_CT_STATE_BIT` in `nf_conntrack_common.h`).
pub mod conntrack_state {
    /// The packet fits no connection.
    pub const INVALID: u32 = 1;
    /// The connection has seen no answer yet.
    pub const NEW: u32 = 8;
    /// The packet is exempt from connection tracking.
    pub const UNTRACKED: u32 = 64;
    /// The connection has seen packets in both directions.
    pub const ESTABLISHED: u32 = 2;
}

/// Bits of [`ConntrackField::Status`] (`enum ip_conntrack_status`).
pub mod conntrack_status {
    /// The destination is translated.
    pub const DESTINATION_NAT: u32 = 1 << 5;
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Equal.
    Equal,
    /// Not equal.
    NotEqual,
}

/// What to do with a packet next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It passes this hook's chain.
    Accept,
    /// It is gone.
    Drop,
    /// Back to the chain that jumped here.
    Return,
    /// Run a chain, then come back.
    Jump(Name),
    /// Run a chain in place of this one.
    Goto(Name),
}

/// How a statement changes a dynamic set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetUpdate {
    /// Add the element unless the key is there.
    Add,
    /// Add the element, or start its timeout again when the key is there (its data stays).
    Update,
    /// Remove the element; fails when the key is not there.
    Delete,
}

/// Which end of a connection a translation changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NatKind {
    /// The source.
    Source,
    /// The destination.
    Destination,
}

/// The answer that goes with a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectWith {
    /// A TCP reset; for TCP packets only.
    TcpReset,
    /// ICMP (or ICMPv6) port unreachable (`icmpx port-unreachable`).
    PortUnreachable,
}
