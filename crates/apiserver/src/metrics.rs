//! What the server counts, under the names a Kubernetes API server uses.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::http::quota::Load;

/// The media type of the text.
pub(crate) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// From what a read takes to what a client gives up at, in seconds.
const BUCKETS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0, 10.0];

/// All counters.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter>,
    durations: Family<Operation, Histogram>,
    inflight: Family<Kind, Gauge>,
}

/// What was asked, and how it went.
#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Request {
    verb: &'static str,
    group: &'static str,
    version: &'static str,
    resource: &'static str,
    subresource: &'static str,
    code: u16,
}

/// What was asked.
#[derive(Debug, Clone, Copy, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct Operation {
    pub verb: &'static str,
    pub group: &'static str,
    pub version: &'static str,
    pub resource: &'static str,
    pub subresource: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Kind {
    request_kind: &'static str,
}

impl Metrics {
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let (requests, inflight) = (Family::default(), Family::default());
        let durations = Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram);
        // The encoder adds `_total`.
        registry.register("apiserver_request", "Requests answered", requests.clone());
        registry.register("apiserver_request_duration_seconds", "Time until the answer began", durations.clone());
        registry.register("apiserver_current_inflight_requests", "Requests under way", inflight.clone());
        Self { registry, requests, durations, inflight }
    }

    /// Counts a request that has been answered.
    pub fn answered(&self, operation: Operation, code: u16, took: Duration) {
        let Operation { verb, group, version, resource, subresource } = operation;
        self.requests.get_or_create(&Request { verb, group, version, resource, subresource, code }).inc();
        self.durations.get_or_create(&operation).observe(took.as_secs_f64());
    }

    /// The gauge of what is under way.
    pub fn under_way(&self, load: Load) -> Gauge {
        let request_kind = match load {
            Load::Request => "request",
            Load::Watch => "watch",
        };
        self.inflight.get_or_create_owned(&Kind { request_kind })
    }

    /// Everything in the text format of OpenMetrics.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_what_was_asked_and_how_it_went() {
        let metrics = Metrics::new();
        let get =
            Operation { verb: "get", group: "apps", version: "v1", resource: "deployments", subresource: "status" };
        metrics.answered(get, 200, Duration::from_millis(3));
        metrics.answered(get, 200, Duration::from_millis(3));
        let text = metrics.render();
        let counted = "apiserver_request_total{verb=\"get\",group=\"apps\",version=\"v1\",\
                       resource=\"deployments\",subresource=\"status\",code=\"200\"} 2";
        assert!(text.contains(counted), "{text}");
        assert!(text.contains("le=\"0.005\""), "{text}");
    }
}
