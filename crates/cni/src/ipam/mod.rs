//! Addresses for containers: which one is next, and who has which, kept in files.

mod choice;
mod occupied;
mod store;

pub(crate) use occupied::{HOST_LOCAL, occupied};
pub(crate) use store::{Rest, Store};

use std::io;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::owner::Owner;
use crate::state::StateError;

/// How much of a range is given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeUse {
    /// The range.
    pub range: IpNet,
    /// Its addresses that somebody has: containers of ours, those of other networks, links of the node.
    pub taken: usize,
    /// Those that nobody gets yet, as they were released a moment ago.
    pub resting: usize,
    /// Those the next container can get.
    pub free: u128,
}

/// An operation on reservations that failed.
#[derive(Debug, thiserror::Error)]
pub enum IpamError {
    /// All addresses of the ranges are taken.
    #[error(
        "no free address in {ranges}: {taken} are in use and {resting} were released just now; \
         delete pods or give the node a larger range"
    )]
    Exhausted {
        /// The ranges, as configured.
        ranges: String,
        /// How many reservations there are.
        taken: usize,
        /// How many addresses nobody gets yet.
        resting: usize,
    },
    /// An address somebody wants is another's.
    #[error("{address} is in use by container {container}")]
    Taken {
        /// The address.
        address: IpAddr,
        /// Who has it, as far as that can be told.
        container: String,
    },
    /// An address somebody wants is in use by something that is no attachment of ours.
    #[error("{address} is in use by a link of this node or by another network on it; ask for one that is free")]
    Occupied {
        /// The address.
        address: IpAddr,
    },
    /// An address somebody wants is none of those there are to give.
    #[error("{address} is in none of the ranges {ranges}")]
    OutOfRange {
        /// The address.
        address: IpAddr,
        /// The ranges, as configured.
        ranges: String,
    },
    /// An address somebody wants is the first of its range or, for IPv4, the last: these are the network's own, and the
    /// node's in the tunnel.
    #[error("{address} is the first or last of its range, which no container gets; ask for one between them")]
    Unusable {
        /// The address.
        address: IpAddr,
    },
    /// The state directory failed.
    #[error(transparent)]
    State(#[from] StateError),
    /// A reservation could not be written down; it was not made.
    #[error("cannot reserve {address}")]
    Reserve {
        /// The address.
        address: IpAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A reservation could not be removed; it stands.
    #[error("cannot release {address}")]
    Release {
        /// The address.
        address: IpAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl IpamError {
    fn taken(address: IpAddr, holder: Option<&Owner>) -> Self {
        let container = holder.map_or_else(|| "unknown".to_owned(), |holder| holder.container.clone());
        Self::Taken { address, container }
    }
}
