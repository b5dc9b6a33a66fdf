//! What the agent counts: under kube-proxy's names, with its labels, where it has one.

use compile::plan::PolicySide;
use datapath::nft::NftError;
use jiff::Timestamp;
use model::IpFamily;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::kernel::{Pending, Synced};
use crate::roles::client_metrics::ClientMetrics;
use crate::roles::process_metrics;

/// An address family, as kube-proxy names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByFamily {
    ip_family: &'static str,
}

/// A traffic policy of Services, and a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByPolicy {
    traffic_policy: &'static str,
    ip_family: &'static str,
}

/// Where the way of a change into the kernel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// At nf_tables, which refused or failed.
    Table,
    /// Elsewhere: routes, files, tracked flows, the API server.
    Other,
}

impl Stage {
    /// Where an error comes from.
    pub(super) fn of(error: &anyhow::Error) -> Self {
        if error.chain().any(<dyn std::error::Error>::is::<NftError>) { Self::Table } else { Self::Other }
    }
}

/// The status of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCode {
    code: u32,
}

type Durations = Family<ByFamily, Histogram, fn() -> Histogram>;

/// The agent's metrics.
#[derive(Debug)]
pub(super) struct Metrics {
    durations: Durations,
    full_durations: Durations,
    partial_durations: Durations,
    programming: Durations,
    reconciling: Durations,
    last_synced: Family<ByFamily, Gauge>,
    last_queued: Family<ByFamily, Gauge>,
    service_changes: Counter,
    endpoint_changes: Counter,
    without_local: Family<ByPolicy, Gauge>,
    sync_failures: Family<ByFamily, Counter>,
    /// What is stale goes in the transaction that brings what is new, so that there is no failure of its own to count.
    cleanup_failures: Family<ByFamily, Counter>,
    flows_removed: Family<ByFamily, Counter>,
    healthz: Family<ByCode, Counter>,
    livez: Family<ByCode, Counter>,
    operations: Counter,
    routes_failed: Gauge,
    failures: Counter,
    services_pending: Gauge,
    endpoints_pending: Gauge,
    /// Requests to the API server.
    pub(super) requests: ClientMetrics,
}

impl Default for Metrics {
    fn default() -> Self {
        let durations = || Durations::new_with_constructor(milliseconds_to_seconds);
        Self {
            durations: durations(),
            full_durations: durations(),
            partial_durations: durations(),
            programming: Durations::new_with_constructor(seconds_to_minutes),
            reconciling: durations(),
            last_synced: Family::default(),
            last_queued: Family::default(),
            service_changes: Counter::default(),
            endpoint_changes: Counter::default(),
            without_local: Family::default(),
            sync_failures: Family::default(),
            cleanup_failures: Family::default(),
            flows_removed: Family::default(),
            healthz: Family::default(),
            livez: Family::default(),
            operations: Counter::default(),
            routes_failed: Gauge::default(),
            failures: Counter::default(),
            services_pending: Gauge::default(),
            endpoints_pending: Gauge::default(),
            requests: ClientMetrics::default(),
        }
    }
}

/// From a millisecond to sixteen seconds, as kube-proxy has it.
fn milliseconds_to_seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 15))
}

/// From a quarter of a second to five minutes, as kube-proxy has it.
fn seconds_to_minutes() -> Histogram {
    let seconds = (1..60).map(f64::from);
    let minutes = (60..120).step_by(5).chain((120..=300).step_by(30)).map(f64::from);
    Histogram::new([0.25, 0.5].into_iter().chain(seconds).chain(minutes))
}

const fn label(family: IpFamily) -> ByFamily {
    let ip_family = match family {
        IpFamily::V4 => "IPv4",
        IpFamily::V6 => "IPv6",
    };
    ByFamily { ip_family }
}

impl Metrics {
    /// Notes that there is something to bring into the kernel.
    pub(super) fn queued(&self, families: &[IpFamily], now: Timestamp) {
        for family in families {
            self.last_queued.get_or_create(&label(*family)).set(now.as_second());
            // Seen from the beginning, so that an increase is one.
            for failures in [&self.sync_failures, &self.cleanup_failures] {
                drop(failures.get_or_create(&label(*family)));
            }
        }
    }

    /// Notes that the kernel is in step.
    pub(super) fn synced(&self, synced: &Synced, families: &[IpFamily], now: Timestamp) {
        let took = synced.took.as_secs_f64();
        let by_extent = if synced.is_full { &self.full_durations } else { &self.partial_durations };
        for family in families.iter().map(|family| label(*family)) {
            self.last_synced.get_or_create(&family).set(now.as_second());
            self.durations.get_or_create(&family).observe(took);
            by_extent.get_or_create(&family).observe(took);
        }
        self.service_changes.inc_by(synced.services_changed as u64);
        self.endpoint_changes.inc_by(synced.slices_changed as u64);
        for (family, since_epoch) in &synced.triggers {
            let waited = now.as_duration().as_secs_f64() - since_epoch.as_secs_f64();
            self.programming.get_or_create(&label(*family)).observe(waited.max(0.0));
        }
        self.set_without_local(synced, families);
        self.reconciled(synced, families);
        self.operations.inc_by(synced.outcome.operations as u64);
        self.routes_failed.set(synced.outcome.routes_failed as i64);
    }

    /// Notes how much of the cluster is not in the kernel yet.
    pub(super) fn pending(&self, pending: Pending) {
        self.services_pending.set(pending.services as i64);
        self.endpoints_pending.set(pending.slices as i64);
    }

    fn set_without_local(&self, synced: &Synced, families: &[IpFamily]) {
        for family in families {
            for (side, traffic_policy) in [(PolicySide::Internal, "internal"), (PolicySide::External, "external")] {
                let count = synced.without_local.get(&(side, *family)).copied().unwrap_or_default();
                let by = ByPolicy { traffic_policy, ip_family: label(*family).ip_family };
                self.without_local.get_or_create(&by).set(count as i64);
            }
        }
    }

    fn reconciled(&self, synced: &Synced, families: &[IpFamily]) {
        let Some(reconciled) = &synced.reconciled else { return };
        for family in families {
            let removed = reconciled.removed.iter().filter(|removed| **removed == *family).count();
            self.reconciling.get_or_create(&label(*family)).observe(reconciled.took.as_secs_f64());
            self.flows_removed.get_or_create(&label(*family)).inc_by(removed as u64);
        }
    }

    /// Notes that the kernel could not be brought in step.
    pub(super) fn failed(&self, families: &[IpFamily], stage: Stage) {
        self.failures.inc();
        for family in families.iter().filter(|_| stage == Stage::Table) {
            self.sync_failures.get_or_create(&label(*family)).inc();
        }
    }

    /// Notes an answer at /healthz.
    pub(super) fn answered_healthz(&self, is_fine: bool) {
        self.healthz.get_or_create(&code(is_fine)).inc();
    }

    /// Notes an answer at /livez.
    pub(super) fn answered_livez(&self, is_fine: bool) {
        self.livez.get_or_create(&code(is_fine)).inc();
    }

    /// Makes them visible in `registry`.
    pub(super) fn register(&self, registry: &mut Registry) {
        self.register_sync(registry.sub_registry_with_prefix("kubeproxy"));
        self.register_rest(registry.sub_registry_with_prefix("kubeproxy"));
        self.requests.register(registry);
        process_metrics::register(registry);
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.sub_registry_with_prefix("fairway").register("build", "The program that runs", build);
        let agent = registry.sub_registry_with_prefix("fairway_agent");
        agent.register("kernel_operations", "Changes of the nf_tables table", self.operations.clone());
        agent.register("routes_failed", "Routes to other nodes that are not as wanted", self.routes_failed.clone());
        agent.register("sync_failures", "Times the kernel could not be brought in step", self.failures.clone());
    }

    fn register_sync(&self, proxy: &mut Registry) {
        for (name, help, durations) in [
            ("sync_proxy_rules_duration_seconds", "Time to bring a change into the kernel", &self.durations),
            ("sync_full_proxy_rules_duration_seconds", "The same, the first time", &self.full_durations),
            ("sync_partial_proxy_rules_duration_seconds", "The same, ever after", &self.partial_durations),
            ("network_programming_duration_seconds", "Time from a change to the kernel", &self.programming),
            ("conntrack_reconciler_sync_duration_seconds", "Time to put tracked UDP flows right", &self.reconciling),
        ] {
            proxy.register(name, help, durations.clone());
        }
        let last_synced = self.last_synced.clone();
        proxy.register("sync_proxy_rules_last_timestamp_seconds", "When the kernel was last in step", last_synced);
        let last_queued = self.last_queued.clone();
        proxy.register("sync_proxy_rules_last_queued_timestamp_seconds", "When a change last came", last_queued);
    }

    fn register_rest(&self, proxy: &mut Registry) {
        let services = self.service_changes.clone();
        proxy.register("sync_proxy_rules_service_changes", "Services that changed", services);
        let endpoints = self.endpoint_changes.clone();
        proxy.register("sync_proxy_rules_endpoint_changes", "Services whose endpoints changed", endpoints);
        let services = self.services_pending.clone();
        proxy.register("sync_proxy_rules_service_changes_pending", "Services whose changes wait", services);
        let endpoints = self.endpoints_pending.clone();
        proxy.register(
            "sync_proxy_rules_endpoint_changes_pending",
            "Services whose endpoints' changes wait",
            endpoints,
        );
        let without = self.without_local.clone();
        let help = "Service ports whose policy is Local and that have no endpoint on this node";
        proxy.register("sync_proxy_rules_no_local_endpoints_total", help, without);
        let failures = self.sync_failures.clone();
        proxy.register("sync_proxy_rules_nftables_sync_failures", "Times nf_tables refused or failed", failures);
        let failures = self.cleanup_failures.clone();
        let help = "Times nf_tables refused to remove what is stale on its own, which never happens";
        proxy.register("sync_proxy_rules_nftables_cleanup_failures", help, failures);
        let removed = self.flows_removed.clone();
        proxy.register("conntrack_reconciler_deleted_entries", "UDP flows to endpoints that were gone", removed);
        proxy.register("proxy_healthz", "Answers at /healthz", self.healthz.clone());
        proxy.register("proxy_livez", "Answers at /livez", self.livez.clone());
    }
}

const fn code(is_fine: bool) -> ByCode {
    ByCode { code: if is_fine { 200 } else { 503 } }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;
    use datapath::DatapathError;

    use super::*;

    fn counted(error: &anyhow::Error) -> (u64, u64) {
        let metrics = Metrics::default();
        metrics.failed(&[IpFamily::V4], Stage::of(error));
        let of_tables = metrics.sync_failures.get_or_create(&label(IpFamily::V4)).get();
        (of_tables, metrics.failures.get())
    }

    #[test]
    fn failures_of_nf_tables_are_those_it_refused_or_failed() {
        let table = anyhow::Error::new(DatapathError::Table(NftError::Unstable { attempts: 3 })).context("cannot sync");
        assert_eq!(counted(&table), (1, 1));
        assert_eq!(counted(&anyhow!("the API server does not answer")), (0, 1));
    }
}
