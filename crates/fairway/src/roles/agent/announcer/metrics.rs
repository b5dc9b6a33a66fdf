//! What the announcer counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Debug, Default)]
pub(in crate::roles::agent) struct AnnouncerMetrics {
    /// Addresses this node answers for.
    pub(super) addresses: Gauge,
    /// Questions of neighbours that were answered.
    pub(super) answered: Counter,
    /// Announcements that were sent unasked.
    pub(super) announced: Counter,
    /// Other machines that answer for addresses of this node, or keep it from answering.
    pub(super) doubles: Gauge,
}

impl AnnouncerMetrics {
    /// Makes them visible in `registry`.
    pub(in crate::roles::agent) fn register(&self, registry: &mut Registry) {
        let announcer = registry.sub_registry_with_prefix("fairway_announcer");
        announcer.register("addresses", "Load balancer addresses this node answers for", self.addresses.clone());
        announcer.register("answers", "Questions of neighbours that were answered", self.answered.clone());
        announcer.register("announcements", "Addresses announced to all neighbours unasked", self.announced.clone());
        let doubles = "Other machines that have addresses this node answers for or is to";
        announcer.register("duplicates", doubles, self.doubles.clone());
    }
}
