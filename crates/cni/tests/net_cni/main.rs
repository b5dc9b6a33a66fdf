//! The plugin as a program, called as a container runtime calls it, in real namespaces.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod attachments;
mod checks;
mod crashes;
mod host_ports;
mod others;
mod repairs;
mod runtime;
mod wishes;
