//! The grammar of a Corefile: server blocks, directives, snippets, imports and variables, as CoreDNS reads them.
//!
//! [`RawCorefile::parse`] knows no directive's meaning; that is [`Config`](crate::Config)'s. Files and variables come
//! through [`Surroundings`], so that everything here computes.

mod error;
mod names;
mod parse;
mod token;

use std::fmt;
use std::sync::Arc;

pub use error::{CorefileError, Fault};
pub(crate) use names::{Standing, nearest, standing};

/// A Corefile taken apart, its imports, snippets and variables filled in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawCorefile {
    /// Its server blocks, in order.
    pub blocks: Vec<RawBlock>,
}

/// A server block: what stands between the braces behind one or more zones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawBlock {
    /// The zones it is for, as written, such as `.:53`; never empty.
    pub keys: Vec<String>,
    /// Where the first of them stands.
    pub at: Position,
    /// Its directives, in order.
    pub directives: Vec<Directive>,
}

/// A line of a server block, or of a directive's own block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directive {
    /// Its first word.
    pub name: String,
    /// The words behind it.
    pub arguments: Vec<String>,
    /// Where it stands.
    pub at: Position,
    /// The lines of its own block; empty without one.
    pub body: Vec<Directive>,
}

/// A line of a file.
#[derive(Clone, PartialEq, Eq)]
pub struct Position {
    /// The file, as people know it.
    pub file: Arc<str>,
    /// The line, the first being 1.
    pub line: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a Corefile refers to outside of itself.
pub trait Surroundings {
    /// The value of an environment variable.
    fn variable(&self, name: &str) -> Option<String>;

    /// The files that `pattern` names, each with its text, in the order of their names; at most one `*` stands in it.
    ///
    /// A relative pattern starts at the folder of `from`, the file that imports. The error says in words why not.
    fn import(&self, pattern: &str, from: &str) -> Result<Vec<(String, String)>, String>;

    /// The text of a file that a directive names. The error says in words why it cannot be read.
    fn read(&self, path: &str) -> Result<String, String>;
}
