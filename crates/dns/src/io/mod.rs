//! Sockets: where packets come in, and where other servers are asked.
//!
//! Queries about the zone, and about names in the cache, are answered by the reader of the socket itself: no task and
//! no channel in between. Only what must wait for another server becomes a task, and there is a limit to those.

mod batch;
mod block;
mod exchange;
mod forwarder;
mod guard;
mod listener;
mod query_log;
mod resolver;
mod server;
mod socket;
mod tcp;
mod udp;
mod upstream;

pub use server::Server;
pub use socket::BindError;
