//! What could not become a fact.

use std::fmt;

/// An API object, or a part of it, that was refused at the door: the object, the field, why, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Rejected {
    /// Kind and key of the object, e.g. `Service shop/cart`.
    pub object: String,
    /// Path of the field, e.g. `spec.ports[0].protocol`.
    pub field: String,
    /// What is wrong and what would be right.
    pub why: String,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.object, self.field, self.why)
    }
}
