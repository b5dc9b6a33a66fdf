//! Decisions: a cluster snapshot in, a plan for one node out; pure.

pub mod ruleset;
