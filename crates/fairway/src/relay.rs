//! Passing connections and datagrams on from one address to another, never more than there are places for.
//!
//! A listener may be of another network namespace than what it is passed on to: a socket stays in the one it was made in.

mod tcp;
mod udp;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub use tcp::{Connections, accept_connections, relay_connections};
pub use udp::relay_datagrams;

/// Where to pass on what arrives, and under which limits.
#[derive(Clone, Debug)]
pub struct Relay {
    /// Where it arrives, for messages.
    pub from: SocketAddr,
    /// Where it goes.
    pub to: SocketAddr,
    /// A place for each connection and for each client that sends datagrams; may be shared among relays.
    pub places: Arc<Semaphore>,
    /// Ends it.
    pub cancel: CancellationToken,
    /// Told of everything that is lost.
    pub tell: fn(&Loss),
}

/// What was not passed on, and where it arrived; the relay goes on.
#[derive(Debug)]
pub enum Loss {
    /// A connection could not be accepted, such as out of files.
    Accept { from: SocketAddr, source: io::Error },
    /// There was no place: the connection was closed, or the datagram dropped.
    Full { from: SocketAddr },
    /// The other end cannot be reached.
    Unreached { from: SocketAddr, to: SocketAddr, source: io::Error },
    /// It broke off.
    BrokenOff { from: SocketAddr, source: io::Error },
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept { from, source } => write!(f, "cannot accept a connection at {from}: {source}"),
            Self::Full { from } => write!(f, "too many connections or conversations: one at {from} was turned away"),
            Self::Unreached { from, to, source } => write!(f, "cannot pass on from {from} to {to}: {source}"),
            Self::BrokenOff { from, source } => write!(f, "a connection or conversation at {from} broke off: {source}"),
        }
    }
}
