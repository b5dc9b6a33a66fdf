//! How much one client may have under way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::metrics::gauge::Gauge;

use crate::error::ApiError;
use crate::metrics::Metrics;

/// Limits of what the server holds for its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest request body.
    pub body_bytes: usize,
    /// Requests of one client being answered at the same time, watches aside.
    pub requests: usize,
    /// Watches and streams one client has open at the same time.
    pub watches: usize,
    /// Connections open at the same time, all clients together.
    pub connections: usize,
    /// Changes of one resource that are kept for watches to resume from and lists to go on with; older ones expire.
    pub history_events: usize,
    /// Bytes of those changes.
    pub history_bytes: usize,
}

impl Default for Limits {
    /// The body limit is that of Kubernetes; the others are far above what a cluster of hundreds of nodes needs. The
    /// history is minutes of heavy change, hours of ordinary life.
    fn default() -> Self {
        Self {
            body_bytes: 3 << 20,
            requests: 400,
            watches: 4000,
            connections: 8000,
            history_events: 4096,
            history_bytes: 16 << 20,
        }
    }
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    Request,
    Watch,
}

/// Counts what is under way, by user.
#[derive(Debug, Clone)]
pub(crate) struct Quotas {
    limits: Limits,
    users: Arc<Mutex<HashMap<String, Usage>>>,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Usage {
    requests: usize,
    watches: usize,
}

/// The right to one request or watch; given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    quotas: Quotas,
    user: String,
    load: Load,
    under_way: Gauge,
}

impl Quotas {
    pub fn new(limits: Limits, metrics: Arc<Metrics>) -> Self {
        Self { limits, users: Arc::default(), metrics }
    }

    pub fn admit(&self, user: &str, load: Load) -> Result<Permit, ApiError> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let usage = users.entry(user.to_owned()).or_default();
        let (used, limit) = match load {
            Load::Request => (&mut usage.requests, self.limits.requests),
            Load::Watch => (&mut usage.watches, self.limits.watches),
        };
        if *used >= limit {
            let what = if load == Load::Request { "requests" } else { "watches" };
            return Err(ApiError::TooManyRequests {
                message: format!("Too many requests, please try again later: {user} has {limit} {what} under way."),
                retry_after_seconds: 1,
            });
        }
        *used += 1;
        let under_way = self.metrics.under_way(load);
        under_way.inc();
        Ok(Permit { quotas: self.clone(), user: user.to_owned(), load, under_way })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.under_way.dec();
        let mut users = self.quotas.users.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(usage) = users.get_mut(&self.user) else { return };
        match self.load {
            Load::Request => usage.requests -= 1,
            Load::Watch => usage.watches -= 1,
        }
        if *usage == Usage::default() {
            users.remove(&self.user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_at_its_limit_leaves_the_others_alone() {
        let quotas = Quotas::new(Limits { requests: 1, ..Limits::default() }, Arc::new(Metrics::new()));
        let first = quotas.admit("a", Load::Request).unwrap();
        assert_eq!(quotas.admit("a", Load::Request).unwrap_err().code(), 429);
        let others = (quotas.admit("b", Load::Request).unwrap(), quotas.admit("a", Load::Watch).unwrap());
        drop((first, others));
        assert!(quotas.users.lock().unwrap().is_empty());
        assert!(quotas.admit("a", Load::Request).is_ok());
    }
}
