//! What the controller counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Debug, Default)]
pub(super) struct Metrics {
    /// Whether this replica leads.
    pub(super) leads: Gauge,
    /// Nodes that got ranges of pod addresses.
    pub(super) given: Counter,
    /// Nodes that have none.
    pub(super) waiting: Gauge,
    /// Times that a Service's load balancer addresses were written.
    pub(super) addresses_given: Counter,
    /// Services of type LoadBalancer that have no address.
    pub(super) without_address: Gauge,
}

impl Metrics {
    /// Notes that this replica leads no more: what is wrong now the one that does says.
    pub(super) fn resign(&self) {
        for gauge in [&self.leads, &self.waiting, &self.without_address] {
            gauge.set(0);
        }
    }

    /// Makes them visible in `registry`.
    pub(super) fn register(&self, registry: &mut Registry) {
        let controller = registry.sub_registry_with_prefix("fairway_controller");
        controller.register("leads", "Whether this replica leads", self.leads.clone());
        controller.register("node_ranges_given", "Nodes that got ranges of pod addresses", self.given.clone());
        let given = self.addresses_given.clone();
        controller.register("load_balancer_addresses_written", "Times that addresses of a Service were written", given);
        let without = self.without_address.clone();
        controller.register(
            "load_balancers_without_address",
            "Services that ask for an address and have none",
            without,
        );
        controller.register("nodes_without_range", "Nodes that have no range of pod addresses", self.waiting.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_that_leads_no_more_says_nothing_of_the_cluster() {
        let metrics = Metrics::default();
        let gauges = [&metrics.leads, &metrics.waiting, &metrics.without_address];
        for gauge in gauges {
            gauge.set(3);
        }
        metrics.resign();
        assert_eq!(gauges.map(Gauge::get), [0, 0, 0]);
    }
}
