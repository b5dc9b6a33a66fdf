//! Names: a zone built from the snapshot, answers, cache and forwarding.
//!
//! [`Zone`] and [`respond`] are pure: a snapshot goes in, response packets come out. Sockets live in [`io`].

mod answer;
mod shuffle;
#[cfg(test)]
mod tests;
pub mod wire;
pub mod zone;

pub use answer::{Reply, Transport, answer, respond};
pub use zone::{Zone, ZoneSettings};
