//! Addresses for containers: which one is next, and who has which, kept in files.

mod choice;
mod store;

pub(crate) use store::Store;

use std::io;
use std::net::IpAddr;

use crate::state::StateError;

/// An operation on reservations that failed.
#[derive(Debug, thiserror::Error)]
pub enum IpamError {
    /// All addresses of the ranges are taken.
    #[error("no free address in {ranges}: all {taken} are in use; delete pods or give the node a larger range")]
    Exhausted {
        /// The ranges, as configured.
        ranges: String,
        /// How many reservations there are.
        taken: usize,
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
