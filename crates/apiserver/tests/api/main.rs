//! The server as its clients meet it: over HTTP, in this process, on sockets of its own.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test fails")]
#![expect(clippy::needless_pass_by_value, reason = "what a test passes is mostly written in place")]

mod access;
mod custom;
mod delete;
mod discovery;
mod events;
mod identity;
mod list;
mod objects;
mod patch;
mod pods;
mod restart;
mod services;
mod streams;
mod support;
mod watch;
