//! Clusters brought up with the real binary.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

#[path = "../harness/mod.rs"]
mod harness;
mod host_link;
mod install;
mod lifecycle;
mod load_balancer;
mod names;
mod networks;
