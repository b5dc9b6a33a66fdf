//! What the server counts, under the names dashboards for CoreDNS know.

use std::time::Duration;

use model::IpFamily;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::answer::Transport;
use crate::wire::{HEADER_LEN, RecordType, skip_name};

/// The server and its only block of zones, as CoreDNS names them.
const SERVER: &str = "dns://:53";
const ZONE: &str = ".";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    server: &'static str,
    zone: &'static str,
    view: &'static str,
    proto: &'static str,
    family: &'static str,
    r#type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResponseLabels {
    server: &'static str,
    zone: &'static str,
    view: &'static str,
    rcode: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServerLabels {
    server: &'static str,
    zone: &'static str,
    view: &'static str,
}

/// The counters of a server; clones count together.
#[derive(Clone, Debug)]
pub struct Metrics {
    requests: Family<RequestLabels, Counter>,
    responses: Family<ResponseLabels, Counter>,
    durations: Family<ServerLabels, Histogram>,
    pub(crate) cache_hits: Counter,
    pub(crate) cache_misses: Counter,
    pub(crate) forward_rejects: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            responses: Family::default(),
            // From a quarter of a millisecond to eight seconds, as CoreDNS has it.
            durations: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.00025, 2.0, 16))),
            cache_hits: Counter::default(),
            cache_misses: Counter::default(),
            forward_rejects: Counter::default(),
        }
    }
}

impl Metrics {
    /// Makes the counters visible in `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("coredns");
        registry.register("dns_requests", "DNS requests by protocol, family and type", self.requests.clone());
        registry.register("dns_responses", "DNS responses by code", self.responses.clone());
        registry.register("dns_request_duration_seconds", "Time to answer a request", self.durations.clone());
        registry.register("cache_hits", "Answers found in the cache", self.cache_hits.clone());
        registry.register("cache_misses", "Answers not found in the cache", self.cache_misses.clone());
        registry.register(
            "forward_max_concurrent_rejects",
            "Queries refused because too many waited for upstream servers",
            self.forward_rejects.clone(),
        );
    }

    /// Counts an answered packet.
    pub(crate) fn count(
        &self,
        packet: &[u8],
        response: &[u8],
        (transport, family): (Transport, IpFamily),
        took: Duration,
    ) {
        let (server, zone, view) = (SERVER, ZONE, "");
        let proto = if transport == Transport::Tcp { "tcp" } else { "udp" };
        let family = if family == IpFamily::V4 { "1" } else { "2" };
        let r#type = type_name(packet);
        self.requests.get_or_create(&RequestLabels { server, zone, view, proto, family, r#type }).inc();
        self.responses.get_or_create(&ResponseLabels { server, zone, view, rcode: rcode_name(response) }).inc();
        self.durations.get_or_create(&ServerLabels { server, zone, view }).observe(took.as_secs_f64());
    }
}

/// The type a packet asks for. Clients choose it, so all but the known ones share a name.
fn type_name(packet: &[u8]) -> &'static str {
    let number = skip_name(packet, HEADER_LEN).and_then(|at| packet.get(at..at + 2)?.try_into().ok());
    match number.map_or(RecordType(0), |number| RecordType(u16::from_be_bytes(number))) {
        RecordType::A => "A",
        RecordType::AAAA => "AAAA",
        RecordType::SRV => "SRV",
        RecordType::PTR => "PTR",
        RecordType::CNAME => "CNAME",
        RecordType::NS => "NS",
        RecordType::SOA => "SOA",
        RecordType::TXT => "TXT",
        RecordType(15) => "MX",
        RecordType(65) => "HTTPS",
        RecordType::ANY => "ANY",
        _ => "other",
    }
}

fn rcode_name(response: &[u8]) -> &'static str {
    match response.get(3).map_or(0, |flags| flags & 0x0f) {
        0 => "NOERROR",
        1 => "FORMERR",
        2 => "SERVFAIL",
        3 => "NXDOMAIN",
        4 => "NOTIMP",
        5 => "REFUSED",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_responses_are_counted_under_the_known_names() {
        let (metrics, mut registry) = (Metrics::default(), Registry::default());
        metrics.register(&mut registry);
        let packet = b"\0\x01\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x1c\0\x01";
        metrics.count(packet, b"\0\x01\x81\x03", (Transport::Tcp, IpFamily::V4), Duration::from_millis(1));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let request =
            r#"coredns_dns_requests_total{server="dns://:53",zone=".",view="",proto="tcp",family="1",type="AAAA"} 1"#;
        let response = r#"coredns_dns_responses_total{server="dns://:53",zone=".",view="",rcode="NXDOMAIN"} 1"#;
        let duration = r#"coredns_dns_request_duration_seconds_count{server="dns://:53",zone=".",view=""} 1"#;
        for line in [request, response, duration] {
            assert!(text.lines().any(|other| other == line), "{line} not in {text}");
        }
    }
}
