//! Decisions: a cluster snapshot in, a plan for one node out; pure.
//!
//! - [`Plan`]: what a node's kernel should hold, computed from a [`model::Cluster`] and kept up change by change.
//! - [`address_plan`]: how large the ranges of pods must be.
//! - [`ruleset`]: nf_tables as plain values, the form of a plan the kernel understands.
//! - [`diff()`]: the operations between two rulesets.
//! - [`guard`]: the part of the table that drops what pods send under others' addresses.
//! - [`host_ports`]: the part of the table the CNI plugin keeps, ports of the node that lead to a pod.
//! - [`evaluate()`]: the fate of one packet, straight from what the API objects mean, and what decided it.
//! - [`trace()`]: the fate of one packet in a ruleset. It must be what [`evaluate()`] says.
//! - [`allocation`]: ranges of pod addresses for nodes that have none.
//! - [`load_balancer`]: addresses for Services of type LoadBalancer, and the nodes that answer for them.
//! - [`sample`]: small random clusters and packets to hold the two against each other, and against real sockets.

pub mod address_plan;
pub mod allocation;
mod diff;
mod evaluate;
pub mod guard;
pub mod host_ports;
pub mod load_balancer;
mod packet;
pub mod plan;
pub mod ranges;
pub mod ruleset;
pub mod sample;
mod trace;

pub use diff::{Observed, ObservedChain, diff};
pub use evaluate::{FrontendKind, Reason, Scope, Selection, Verdict, evaluate};
pub use packet::{Entry, Outcome, Packet, SourceNat};
pub use plan::{NodePortAddresses, NodeView, Plan, PodAddresses, Routing, RoutingMode};
pub use trace::{Host, TraceError, trace};
