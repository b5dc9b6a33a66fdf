//! The agent and the DNS server as processes, against a real API server and a real kernel, in a network namespace.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test fails")]

mod agent;
mod announcer;
mod check_command;
mod controller;
mod dns;
mod drift;
mod peers_command;
mod permissions;
mod refusals;
mod service_command;
mod small_servers;
mod storm;
mod world;
