//! Decisions: a cluster snapshot in, a plan for one node out; pure.
//!
//! - [`Plan`]: what a node's kernel should hold, computed from a [`model::Cluster`] and kept up change by change.
//! - [`ruleset`]: nf_tables as plain values, the form of a plan the kernel understands.
//! - [`diff()`]: the operations between two rulesets.

mod diff;
pub mod plan;
pub mod ruleset;

pub use diff::{Observed, ObservedChain, diff};
pub use plan::{NodeView, Plan};
