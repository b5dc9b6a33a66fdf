//! The controllers against the real API server, in this process.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

mod cluster;
mod endpoints;
mod lifecycle;
mod workloads;
