//! What goes wrong between us and nf_tables.

use nix::errno::Errno;

use crate::netlink::{KernelRefusal, NetlinkError};
use crate::netns::NetnsError;

/// An operation on our nf_tables table that failed.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// The namespace to connect to could not be entered.
    #[error("cannot reach the namespace's nf_tables")]
    Namespace(#[from] NetnsError),
    /// No connection.
    #[error("cannot connect to nf_tables")]
    Connect {
        /// Why.
        #[source]
        source: NetlinkError,
    },
    /// The kernel has no nf_tables.
    #[error("the kernel has no nf_tables: it needs CONFIG_NF_TABLES and CONFIG_NF_TABLES_INET, built in or as modules")]
    Unsupported,
    /// A part of the table could not be listed.
    #[error("cannot list {what} of the nf_tables table")]
    List {
        /// `chains`, `rules`, `sets`, `elements` or `generation`.
        what: &'static str,
        /// Why.
        #[source]
        source: NetlinkError,
    },
    /// A set of the table is not of the shape this program gives it: another version of it made the table.
    #[error("the set {set} was made by another version of this program")]
    Shape {
        /// The set.
        set: String,
    },
    /// What the table lacks cannot be added to what there is of it, and only the agent may make it anew.
    #[error("the nf_tables table must be made anew, which the agent does: is it running on this node?")]
    NeedsReplacement,
    /// Other programs changed nf_tables each time we listed the table.
    #[error("nf_tables changed {attempts} times while the table was listed")]
    Unstable {
        /// How often it was tried.
        attempts: u32,
    },
    /// A rule cannot be encoded.
    #[error("a rule of chain {chain} needs more than the kernel's 16 registers")]
    RuleTooWide {
        /// The chain.
        chain: String,
    },
    /// The kernel refused an operation and with it the whole transaction; nothing of it is in force.
    #[error("cannot {operation}")]
    Refused {
        /// What was tried, e.g. `add 3 elements to services`.
        operation: String,
        /// The kernel's words.
        #[source]
        refusal: KernelRefusal,
    },
    /// A transaction was sent but its fate is unknown: list the table to learn it.
    #[error("cannot learn whether the transaction was applied")]
    Unanswered {
        /// Why, when receiving failed.
        #[source]
        source: Option<NetlinkError>,
    },
    /// A transaction could not be sent; nothing of it is in force.
    #[error("cannot send the transaction")]
    Send {
        /// Why.
        #[source]
        source: NetlinkError,
    },
}

impl NftError {
    /// The kernel's errno, when it was the kernel that said no.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Connect { source } | Self::List { source, .. } | Self::Send { source } => source.errno(),
            Self::Refused { refusal, .. } => Some(refusal.errno),
            Self::Unanswered { source } => source.as_ref().and_then(NetlinkError::errno),
            Self::Namespace(_)
            | Self::Unsupported
            | Self::Shape { .. }
            | Self::NeedsReplacement
            | Self::Unstable { .. }
            | Self::RuleTooWide { .. } => None,
        }
    }
}
