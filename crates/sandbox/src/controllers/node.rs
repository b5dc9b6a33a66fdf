//! The life of nodes: their pod networks, their health, and the pods they leave behind.

mod cidr;
mod eviction;
mod health;
mod orphans;

pub(super) use cidr::CidrController;
pub use cidr::Pool;
pub(super) use health::{HealthController, LEASE_NAMESPACE};
pub(super) use orphans::{OrphanController, QUARANTINE};
