//! Packets and what may become of them: the common language of [`evaluate`](crate::evaluate()),
//! [`trace`](crate::trace()) and tests with real sockets.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use model::Protocol;

/// The first packet of a connection, as a node meets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Its source address.
    pub source: IpAddr,
    /// Where it is sent; of the same family as the source.
    pub destination: IpAddr,
    /// Its transport protocol.
    pub protocol: Protocol,
    /// The port it is sent to.
    pub port: u16,
    /// How it came to the node.
    pub entered: Entry,
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let destination = SocketAddr::new(self.destination, self.port);
        write!(f, "{} {} -> {destination}", self.protocol, self.source)
    }
}

/// How a packet came to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// From a pod on the node.
    Pod,
    /// From a process of the node itself.
    Host,
    /// From another machine.
    Outside,
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It goes where it was sent.
    Passed {
        /// What becomes of its source.
        source: SourceNat,
    },
    /// It goes to one of several endpoints.
    Balanced {
        /// The endpoints, any of which may be chosen, and what becomes of the source on the way to each.
        endpoints: BTreeMap<SocketAddr, SourceNat>,
        /// How long a silent client is sent to the same endpoint again.
        affinity: Option<Duration>,
    },
    /// It is answered with a reset (TCP) or a port unreachable (all others).
    Refused,
    /// It is gone without an answer.
    Dropped,
}

/// What becomes of a packet's source address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SourceNat {
    /// The receiver sees the sender.
    Kept,
    /// The receiver sees the node.
    Masqueraded,
}
