//! What a role's requests to the API server come to, under client-go's names and with its labels.

use kubeapi::{Answered, RequestObserver};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// In seconds, as client-go has them.
const BUCKETS: [f64; 12] = [0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0];
/// The code of a request that got no answer.
const NO_ANSWER: &str = "<error>";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    code: String,
    method: String,
    host: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    verb: String,
    host: String,
}

/// The requests of one role. Clones count together.
#[derive(Clone, Debug)]
pub struct ClientMetrics {
    requests: Family<Outcome, Counter>,
    durations: Family<Kind, Histogram, fn() -> Histogram>,
}

impl Default for ClientMetrics {
    fn default() -> Self {
        let durations = Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram);
        Self { requests: Family::default(), durations }
    }
}

impl ClientMetrics {
    /// Makes them visible in `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let client = registry.sub_registry_with_prefix("rest_client");
        client.register("requests", "Requests to the API server", self.requests.clone());
        client.register("request_duration_seconds", "Time to an answer's beginning", self.durations.clone());
    }
}

impl RequestObserver for ClientMetrics {
    fn answered(&self, request: &Answered<'_>) {
        let (method, host) = (request.method.to_owned(), request.host.to_owned());
        let code = request.code.map_or_else(|| NO_ANSWER.to_owned(), |code| code.to_string());
        self.durations
            .get_or_create(&Kind { verb: method.clone(), host: host.clone() })
            .observe(request.took.as_secs_f64());
        self.requests.get_or_create(&Outcome { code, method, host }).inc();
    }
}
