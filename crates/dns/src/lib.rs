//! Names: a zone built from the snapshot, answers, cache and forwarding.
//!
//! [`Zone`] and [`respond`] are pure: a snapshot goes in, response packets come out. Sockets live in [`io`].

mod answer;
pub mod config;
pub mod corefile;
pub mod forward;
mod hosts;
pub mod io;
mod metrics;
mod resolv_conf;
mod shuffle;
#[cfg(test)]
mod tests;
pub mod wire;
pub mod zone;

pub use answer::{Reply, Transport, answer, answer_alias, respond};
pub use config::{Config, Defaults, Unsupported};
pub use corefile::{CorefileError, Surroundings};
pub use metrics::Metrics;
pub use zone::{Zone, ZoneSettings, Zones};
