//! How the agent is, for probes and dashboards.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use serde_json::json;

use super::kernel::Synced;
use crate::roles::status_pages::Page;

/// How long a change may wait to get into the kernel before the agent counts as stuck.
const STUCK_AFTER: Duration = Duration::from_secs(60);

/// What the agent knows of itself.
#[derive(Debug, Default)]
pub(super) struct Health {
    state: Mutex<State>,
    pub(super) metrics: Metrics,
}

#[derive(Debug, Default)]
struct State {
    /// Since when the oldest change waits that is not in the kernel.
    waiting_since: Option<Timestamp>,
    last_synced: Option<Timestamp>,
    /// Whether a new pod would get a network.
    serves_pods: bool,
    problem: Option<String>,
}

impl Health {
    /// Notes that there is something to bring into the kernel.
    pub(super) fn queued(&self, now: Timestamp) {
        self.state().waiting_since.get_or_insert(now);
        self.metrics.last_queued.set(now.as_second());
    }

    /// Notes that the kernel is in step.
    pub(super) fn synced(&self, synced: &Synced, now: Timestamp) {
        let mut state = self.state();
        state.waiting_since = None;
        state.last_synced = Some(now);
        state.problem = None;
        self.metrics.last_synced.set(now.as_second());
        self.metrics.durations.observe(synced.took.as_secs_f64());
        self.metrics.operations.inc_by(synced.outcome.operations as u64);
        self.metrics.routes_failed.set(synced.outcome.routes_failed as i64);
        self.metrics.flows_removed.inc_by(synced.flows_removed as u64);
    }

    /// Notes that new pods get a network.
    pub(super) fn serves_pods(&self) {
        self.state().serves_pods = true;
    }

    /// Notes what is in the way.
    pub(super) fn failed(&self, problem: String) {
        self.state().problem = Some(problem);
        self.metrics.failures.inc();
    }

    /// Fine unless a change has waited too long; in kube-proxy's form.
    pub(super) fn healthz(&self, now: Timestamp) -> Page {
        let state = self.state();
        let body = json!({ "lastUpdated": state.last_synced, "currentTime": now }).to_string();
        let stuck = state.waiting_since.is_some_and(|since| now.duration_since(since).unsigned_abs() > STUCK_AFTER);
        if stuck { Page::unavailable(body).json() } else { Page::fine(body).json() }
    }

    /// Fine once the node can take pods, and while nothing is in the way.
    pub(super) fn readyz(&self) -> Page {
        let state = self.state();
        match (&state.problem, state.serves_pods) {
            (Some(problem), _) => Page::unavailable(format!("{problem}\n")),
            (None, false) => Page::unavailable("waiting for the cluster's objects and this node's pod addresses\n"),
            (None, true) => Page::fine("ok\n"),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing between lock and unlock leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the agent counts: under kube-proxy's names where it has one.
#[derive(Debug)]
pub(super) struct Metrics {
    durations: Histogram,
    last_synced: Gauge,
    last_queued: Gauge,
    flows_removed: Counter,
    operations: Counter,
    routes_failed: Gauge,
    failures: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            // From a millisecond to sixteen seconds, as kube-proxy has it.
            durations: Histogram::new(exponential_buckets(0.001, 2.0, 15)),
            last_synced: Gauge::default(),
            last_queued: Gauge::default(),
            flows_removed: Counter::default(),
            operations: Counter::default(),
            routes_failed: Gauge::default(),
            failures: Counter::default(),
        }
    }
}

impl Metrics {
    /// Makes them visible in `registry`.
    pub(super) fn register(&self, registry: &mut Registry) {
        let proxy = registry.sub_registry_with_prefix("kubeproxy");
        let durations = self.durations.clone();
        proxy.register("sync_proxy_rules_duration_seconds", "Time to bring a change into the kernel", durations);
        let last_synced = self.last_synced.clone();
        proxy.register("sync_proxy_rules_last_timestamp_seconds", "When the kernel was last in step", last_synced);
        let last_queued = self.last_queued.clone();
        proxy.register("sync_proxy_rules_last_queued_timestamp_seconds", "When a change last came", last_queued);
        let removed = self.flows_removed.clone();
        proxy.register("conntrack_reconciler_deleted_entries", "UDP flows to endpoints that were gone", removed);
        let agent = registry.sub_registry_with_prefix("fairway_agent");
        agent.register("kernel_operations", "Changes of the nf_tables table", self.operations.clone());
        let routes_failed = self.routes_failed.clone();
        agent.register("routes_failed", "Routes to other nodes that are not as wanted", routes_failed);
        agent.register("sync_failures", "Times the kernel could not be brought in step", self.failures.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn synced() -> Synced {
        Synced {
            outcome: datapath::Outcome { routes_failed: 1, ..datapath::Outcome::default() },
            flows_removed: 2,
            took: Duration::from_millis(3),
        }
    }

    #[test]
    fn an_agent_is_ready_once_pods_can_come_and_not_while_something_fails() {
        let health = Health::default();
        assert_eq!(
            health.readyz(),
            Page::unavailable("waiting for the cluster's objects and this node's pod addresses\n")
        );
        health.synced(&synced(), at(1));
        health.serves_pods();
        assert_eq!(health.readyz(), Page::fine("ok\n"));
        health.failed("cannot route".into());
        assert_eq!(health.readyz(), Page::unavailable("cannot route\n"));
        health.synced(&synced(), at(2));
        assert_eq!(health.readyz(), Page::fine("ok\n"));
    }

    #[test]
    fn an_agent_is_unhealthy_when_a_change_waits_too_long() {
        let health = Health::default();
        let body = |updated: &str, now: &str| format!(r#"{{"lastUpdated":{updated},"currentTime":"{now}"}}"#);
        let page = health.healthz(at(0));
        assert_eq!(page, Page::fine(body("null", "1970-01-01T00:00:00Z")).json(), "nothing to do is healthy");
        health.queued(at(10));
        health.queued(at(50));
        assert_eq!(health.healthz(at(70)), Page::fine(body("null", "1970-01-01T00:01:10Z")).json());
        assert_eq!(health.healthz(at(71)), Page::unavailable(body("null", "1970-01-01T00:01:11Z")).json());
        health.synced(&synced(), at(72));
        let page = health.healthz(at(500));
        assert_eq!(page, Page::fine(body("\"1970-01-01T00:01:12Z\"", "1970-01-01T00:08:20Z")).json());
    }

    #[test]
    fn what_is_counted_has_the_names_dashboards_know() {
        let (health, mut registry) = (Health::default(), Registry::default());
        health.metrics.register(&mut registry);
        health.synced(&synced(), at(7));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "kubeproxy_sync_proxy_rules_duration_seconds_count 1",
            "kubeproxy_sync_proxy_rules_last_timestamp_seconds 7",
            "kubeproxy_conntrack_reconciler_deleted_entries_total 2",
            "fairway_agent_sync_failures_total 0",
            "fairway_agent_routes_failed 1",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} not in {text}");
        }
    }
}
