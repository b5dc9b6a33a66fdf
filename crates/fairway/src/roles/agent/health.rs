//! How the agent is, for probes and dashboards.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use model::{IpFamily, Node};
use serde_json::{Map, Value, json};

use super::kernel::Synced;
use super::metrics::{Metrics, Stage};
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
    /// The families of the node's addresses.
    families: Vec<IpFamily>,
    /// Whether load balancers may send to this node: it is there and not on its way out (KEP-3836).
    is_eligible: bool,
}

impl Health {
    /// Notes that there is something to bring into the kernel of `node`.
    pub(super) fn queued(&self, now: Timestamp, node: &Node) {
        let mut state = self.state();
        state.waiting_since.get_or_insert(now);
        state.families = node.addresses.iter().copied().map(IpFamily::of).collect();
        state.is_eligible = !node.leaving;
        self.metrics.queued(&state.families, now);
    }

    /// Notes that the cluster has no such node.
    pub(super) fn no_node(&self) {
        self.state().is_eligible = false;
    }

    /// Notes that the kernel is in step.
    pub(super) fn synced(&self, synced: &Synced, now: Timestamp) {
        let mut state = self.state();
        state.waiting_since = None;
        state.last_synced = Some(now);
        state.problem = None;
        self.metrics.synced(synced, &state.families, now);
    }

    /// Notes that new pods get a network.
    pub(super) fn serves_pods(&self) {
        self.state().serves_pods = true;
    }

    /// Notes what is in the way.
    pub(super) fn failed(&self, error: &anyhow::Error) {
        let mut state = self.state();
        state.problem = Some(format!("{error:#}"));
        self.metrics.failed(&state.families, Stage::of(error));
    }

    /// Fine unless a change has waited too long to get into the kernel.
    pub(super) fn is_in_step(&self, now: Timestamp) -> bool {
        self.state().is_in_step(now)
    }

    /// Whether what is sent to this node is served as the cluster asks: the kernel was brought in step, and is not stuck since.
    pub(super) fn serves(&self, now: Timestamp) -> bool {
        let state = self.state();
        state.last_synced.is_some() && state.is_in_step(now)
    }

    /// For load balancers: fine while the kernel is in step and the node is not on its way out; in kube-proxy's form.
    pub(super) fn healthz(&self, now: Timestamp) -> Page {
        let state = self.state();
        let is_fine = state.is_in_step(now) && state.is_eligible;
        self.metrics.answered_healthz(is_fine);
        let mut body = state.report(now, is_fine);
        body.insert("nodeEligible".to_owned(), state.is_eligible.into());
        page(body, is_fine)
    }

    /// For whoever restarts a stuck agent: the same without regard to the node.
    pub(super) fn livez(&self, now: Timestamp) -> Page {
        let state = self.state();
        let is_fine = state.is_in_step(now);
        self.metrics.answered_livez(is_fine);
        page(state.report(now, is_fine), is_fine)
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

impl State {
    fn is_in_step(&self, now: Timestamp) -> bool {
        self.waiting_since.is_none_or(|since| now.duration_since(since).unsigned_abs() < STUCK_AFTER)
    }

    /// What kube-proxy reports. While all is fine, `lastUpdated` is now even if there was nothing to do.
    fn report(&self, now: Timestamp, is_fine: bool) -> Map<String, Value> {
        let in_step = self.is_in_step(now);
        let of_family = |family: &IpFamily| {
            let name = format!("IP{}", format!("{family:?}").to_lowercase());
            (name, json!({ "lastUpdated": self.last_synced, "healthy": in_step }))
        };
        let status: Map<String, Value> = self.families.iter().map(of_family).collect();
        let updated = if is_fine { Some(now) } else { self.last_synced };
        let report = [
            ("lastUpdated", json!(updated)),
            ("currentTime", json!(now)),
            ("healthy", in_step.into()),
            ("status", status.into()),
        ];
        report.map(|(key, value)| (key.to_owned(), value)).into_iter().collect()
    }
}

fn page(body: Map<String, Value>, is_fine: bool) -> Page {
    let body = Value::Object(body).to_string();
    let page = if is_fine { Page::fine(body) } else { Page::unavailable(body) };
    page.json().with_header("x-content-type-options", "nosniff")
}

#[cfg(test)]
mod tests {
    use super::super::kernel::Reconciled;
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn synced() -> Synced {
        Synced {
            outcome: datapath::Outcome { routes_failed: 1, ..datapath::Outcome::default() },
            rejected: Vec::new(),
            took: Duration::from_millis(3),
            is_full: true,
            services_changed: 4,
            slices_changed: 5,
            triggers: vec![(IpFamily::V4, Duration::from_secs(5))],
            without_local: [((compile::plan::PolicySide::External, IpFamily::V4), 2)].into(),
            reconciled: Some(Reconciled { removed: vec![IpFamily::V4; 2], took: Duration::from_millis(1) }),
        }
    }

    fn node(leaving: bool) -> Node {
        Node {
            name: "node1".into(),
            addresses: vec!["10.89.0.1".parse().unwrap()],
            pod_cidrs: vec![],
            uid: "".into(),
            has_refused_range: false,
            leaving,
            created: Duration::ZERO,
            labels: std::collections::BTreeMap::new(),
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
        health.failed(&anyhow::anyhow!("cannot route"));
        assert_eq!(health.readyz(), Page::unavailable("cannot route\n"));
        health.synced(&synced(), at(2));
        assert_eq!(health.readyz(), Page::fine("ok\n"));
    }

    fn is_fine(page: &Page) -> bool {
        page.status() == hyper::StatusCode::OK
    }

    #[test]
    fn a_node_serves_once_its_kernel_was_brought_in_step_and_until_a_change_is_stuck() {
        let health = Health::default();
        assert!(!health.serves(at(0)));
        health.queued(at(0), &node(false));
        assert!(!health.serves(at(1)));
        health.synced(&synced(), at(2));
        assert!(health.serves(at(1000)));
        health.queued(at(1000), &node(false));
        assert!(health.serves(at(1059)) && !health.serves(at(1060)));
    }

    #[test]
    fn an_agent_is_unhealthy_when_a_change_waits_too_long() {
        let health = Health::default();
        assert!(is_fine(&health.livez(at(0))), "nothing to do is healthy");
        health.queued(at(10), &node(false));
        health.queued(at(50), &node(false));
        assert!(is_fine(&health.livez(at(69))) && is_fine(&health.healthz(at(69))));
        assert!(!is_fine(&health.livez(at(70))) && !is_fine(&health.healthz(at(70))));
        health.synced(&synced(), at(72));
        let page = health.healthz(at(500));
        let status = json!({ "IPv4": { "healthy": true, "lastUpdated": "1970-01-01T00:01:12Z" } });
        let now = "1970-01-01T00:08:20Z";
        let expected =
            json!({ "currentTime": now, "lastUpdated": now, "healthy": true, "nodeEligible": true, "status": status });
        assert_eq!(serde_json::from_str::<Value>(page.body()).unwrap(), expected);
    }

    #[test]
    fn load_balancers_are_told_of_a_node_that_leaves_and_nobody_restarts_its_agent() {
        let health = Health::default();
        assert!(!is_fine(&health.healthz(at(0))), "no node is known yet");
        health.queued(at(1), &node(true));
        health.synced(&synced(), at(1));
        assert!(!is_fine(&health.healthz(at(2))));
        assert!(is_fine(&health.livez(at(2))));
        health.queued(at(3), &node(false));
        assert!(is_fine(&health.healthz(at(3))));
        health.no_node();
        assert!(!is_fine(&health.healthz(at(3))));
    }

    #[test]
    fn what_is_counted_has_the_names_dashboards_know() {
        let (health, mut registry) = (Health::default(), prometheus_client::registry::Registry::default());
        health.metrics.register(&mut registry);
        health.queued(at(6), &node(false));
        health.synced(&synced(), at(7));
        health.healthz(at(7));
        health.livez(at(70_000));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family=\"IPv4\"} 1",
            "kubeproxy_sync_full_proxy_rules_duration_seconds_count{ip_family=\"IPv4\"} 1",
            "kubeproxy_network_programming_duration_seconds_sum{ip_family=\"IPv4\"} 2.0",
            "kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family=\"IPv4\"} 7",
            "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds{ip_family=\"IPv4\"} 6",
            "kubeproxy_sync_proxy_rules_service_changes_total 4",
            "kubeproxy_sync_proxy_rules_endpoint_changes_total 5",
            "kubeproxy_sync_proxy_rules_no_local_endpoints_total{traffic_policy=\"external\",ip_family=\"IPv4\"} 2",
            "kubeproxy_conntrack_reconciler_deleted_entries_total{ip_family=\"IPv4\"} 2",
            "kubeproxy_proxy_healthz_total{code=\"200\"} 1",
            "kubeproxy_proxy_livez_total{code=\"200\"} 1",
            "fairway_agent_sync_failures_total 0",
            "fairway_agent_routes_failed 1",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} not in {text}");
        }
    }
}
