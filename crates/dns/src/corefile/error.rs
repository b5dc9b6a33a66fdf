//! Why a Corefile is refused.

use super::Position;

/// What is wrong with a Corefile, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {subject}: {fault}")]
pub struct CorefileError {
    /// Where it stands.
    pub at: Position,
    /// The directive, or the part of a directive's block, or the server block.
    pub subject: String,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a part of a Corefile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Something other than the grammar allows.
    #[error("expected {expected}")]
    Expected {
        /// What would be right.
        expected: &'static str,
    },
    /// A quotation mark or brace that is never closed.
    #[error("never closed: a {mark} is missing")]
    Unclosed {
        /// What is missing.
        mark: char,
    },
    /// Blocks that stand within each other without end.
    #[error("blocks within blocks, more than {limit} deep")]
    TooDeep {
        /// How many may stand within each other.
        limit: usize,
    },
    /// A file or snippet cannot be imported.
    #[error("cannot be imported: {why}")]
    Import {
        /// Why not.
        why: String,
    },
    /// Imports that go on for ever.
    #[error("imports itself, or more than {limit} others")]
    ImportLoop {
        /// How many imports a Corefile may have.
        limit: usize,
    },
    /// A directive nobody knows.
    #[error("no such directive{}", suggestion.map(|name| format!("; did you mean {name}?")).unwrap_or_default())]
    Unknown {
        /// The directive with the nearest name.
        suggestion: Option<&'static str>,
    },
    /// A directive or an option that CoreDNS has.
    #[error(
        "CoreDNS has this, Fairway has not yet; remove it, or start the server with --unsupported=ignore to go without"
    )]
    NotBuilt,
    /// An option the directive does not have.
    #[error("{directive} has no such option; it has {}", known.join(", "))]
    UnknownOption {
        /// The directive.
        directive: String,
        /// The options it has.
        known: &'static [&'static str],
    },
    /// A directive that may stand only once.
    #[error("stands twice in one server block")]
    Repeated,
    /// A value that cannot be used.
    #[error("{value:?} cannot be used; expected {expected}")]
    Value {
        /// The value.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
    /// Too few or too many words.
    #[error("has {found} values; expected {expected}")]
    Count {
        /// How many there are.
        found: usize,
        /// What would be right.
        expected: &'static str,
    },
    /// A file that a directive names cannot be read.
    #[error("cannot read {path}: {why}")]
    File {
        /// The file.
        path: String,
        /// Why not.
        why: String,
    },
    /// Two server blocks claim the same zone at the same address.
    #[error("another server block answers for {zone} at {address} already")]
    Claimed {
        /// The zone.
        zone: String,
        /// The address.
        address: std::net::SocketAddr,
    },
    /// No server block at all.
    #[error("has no server block; the smallest is \". {{ forward . /etc/resolv.conf }}\"")]
    Empty,
}
