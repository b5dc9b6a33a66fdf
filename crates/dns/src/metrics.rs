//! What the server counts, under the names dashboards for CoreDNS know.

use std::array::from_fn;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use model::IpFamily;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use crate::answer::Transport;
use crate::wire::{Query, RecordType};

/// Readers count in one of so many places, so that cores do not wait for each other.
const SHARDS: usize = 8;
/// Upper ends of the buckets of durations: from a quarter of a millisecond to eight seconds, as CoreDNS has it.
const BUCKETS: usize = 16;
const FIRST_BUCKET_NANOS: u64 = 250_000;
const TYPE_NAMES: [&str; 12] = ["A", "AAAA", "SRV", "PTR", "CNAME", "NS", "SOA", "TXT", "MX", "HTTPS", "ANY", "other"];
const RCODE_NAMES: [&str; 7] = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "other"];
const PROTOCOLS: [&str; 2] = ["udp", "tcp"];
const FAMILIES: [&str; 2] = ["1", "2"];

/// The counters of a server; clones count together.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    tallies: Arc<Mutex<Vec<Weak<Tally>>>>,
    pub(crate) cache_hits: Counter,
    pub(crate) cache_misses: Counter,
    pub(crate) cache_served_stale: Counter,
    pub(crate) forward_rejects: Counter,
    pub(crate) forward_all_broken: Counter,
    pub(crate) probe_failures: Counter,
    reload_failures: Counter,
}

impl Metrics {
    /// Makes the counters visible in `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(self.clone()));
        let registry = registry.sub_registry_with_prefix("coredns");
        for (name, help, counter) in [
            ("cache_hits", "Answers found in the cache", &self.cache_hits),
            ("cache_misses", "Answers not found in the cache", &self.cache_misses),
            ("cache_served_stale", "Answers given although they were too old", &self.cache_served_stale),
            (
                "forward_max_concurrent_rejects",
                "Queries refused because too many waited for upstream servers",
                &self.forward_rejects,
            ),
            (
                "forward_healthcheck_broken",
                "Queries for which no upstream server was healthy",
                &self.forward_all_broken,
            ),
            ("proxy_healthcheck_failures", "Probes that upstream servers did not answer", &self.probe_failures),
            ("reload_failed", "Corefiles that could not be loaded", &self.reload_failures),
        ] {
            registry.register(name, help, counter.clone());
        }
    }

    /// Counts a Corefile that could not be loaded.
    pub fn count_failed_reload(&self) {
        self.reload_failures.inc();
    }

    /// The place to count the queries of one zone at one server, the same for everyone as long as anyone has it: two
    /// addresses may be one server, and a configuration that changes may leave it there.
    pub(crate) fn tally(&self, server: String, zone: String) -> Arc<Tally> {
        let mut tallies = self.tallies();
        tallies.retain(|tally| tally.strong_count() > 0);
        let known = tallies.iter().filter_map(Weak::upgrade).find(|tally| tally.server == server && tally.zone == zone);
        known.unwrap_or_else(|| {
            let tally = Arc::new(Tally { server, zone, shards: from_fn(|_| Shard::default()) });
            tallies.push(Arc::downgrade(&tally));
            tally
        })
    }

    fn tallies(&self) -> MutexGuard<'_, Vec<Weak<Tally>>> {
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was asked and answered for one zone at one address.
#[derive(Debug)]
pub(crate) struct Tally {
    server: String,
    zone: String,
    shards: [Shard; SHARDS],
}

/// The numbers of some readers, in cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    /// By protocol, family and type.
    requests: [[[AtomicU64; TYPE_NAMES.len()]; 2]; 2],
    responses: [AtomicU64; RCODE_NAMES.len()],
    /// One more than there are ends: the last has none.
    durations: [AtomicU64; BUCKETS + 1],
    nanos: AtomicU64,
}

/// An answered packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered<'a> {
    /// Which reader answered it.
    pub(crate) reader: usize,
    pub(crate) transport: Transport,
    pub(crate) family: IpFamily,
    /// Nothing when it was no query.
    pub(crate) qtype: Option<RecordType>,
    pub(crate) response: &'a [u8],
    pub(crate) took: Duration,
}

impl Tally {
    pub(crate) fn count(&self, answered: Answered<'_>) {
        let shard = &self.shards[answered.reader % SHARDS];
        let add = |counter: &AtomicU64, number| counter.fetch_add(number, Ordering::Relaxed);
        let protocol = usize::from(answered.transport == Transport::Tcp);
        let family = usize::from(answered.family == IpFamily::V6);
        add(&shard.requests[protocol][family][type_index(answered.qtype)], 1);
        add(&shard.responses[rcode_index(answered.response)], 1);
        let nanos = u64::try_from(answered.took.as_nanos()).unwrap_or(u64::MAX);
        add(&shard.durations[bucket_of(nanos)], 1);
        add(&shard.nanos, nanos);
    }

    fn sum(&self, counter: impl Fn(&Shard) -> &AtomicU64) -> u64 {
        self.shards.iter().map(|shard| counter(shard).load(Ordering::Relaxed)).sum()
    }

    fn labels(&self) -> Vec<(&'static str, &str)> {
        vec![("server", &self.server), ("zone", &self.zone), ("view", "")]
    }

    /// Labels and number of every kind of request there was.
    fn requests(&self) -> Vec<(Vec<(&'static str, &str)>, u64)> {
        let mut found = Vec::new();
        for (protocol, &proto) in PROTOCOLS.iter().enumerate() {
            for (family, &family_name) in FAMILIES.iter().enumerate() {
                for (index, &type_name) in TYPE_NAMES.iter().enumerate() {
                    let number = self.sum(|shard| &shard.requests[protocol][family][index]);
                    let mut labels = self.labels();
                    labels.extend([("proto", proto), ("family", family_name), ("type", type_name)]);
                    found.extend((number > 0).then_some((labels, number)));
                }
            }
        }
        found
    }

    fn responses(&self) -> Vec<(Vec<(&'static str, &str)>, u64)> {
        let of_code = |(index, rcode): (usize, &&'static str)| {
            let number = self.sum(|shard| &shard.responses[index]);
            let mut labels = self.labels();
            labels.push(("rcode", *rcode));
            (number > 0).then_some((labels, number))
        };
        RCODE_NAMES.iter().enumerate().filter_map(of_code).collect()
    }

    fn buckets(&self) -> Vec<(f64, u64)> {
        let end = |index| match index {
            BUCKETS => f64::MAX,
            _ => Duration::from_nanos(FIRST_BUCKET_NANOS << index).as_secs_f64(),
        };
        (0..=BUCKETS).map(|index| (end(index), self.sum(|shard| &shard.durations[index]))).collect()
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let tallies: Vec<_> = self.tallies().iter().filter_map(Weak::upgrade).collect();
        let mut requests =
            encoder.encode_descriptor("coredns_dns_requests", "DNS requests by kind", None, MetricType::Counter)?;
        for (labels, number) in tallies.iter().flat_map(|tally| tally.requests()) {
            requests.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&number, None)?;
        }
        let mut responses =
            encoder.encode_descriptor("coredns_dns_responses", "DNS responses by code", None, MetricType::Counter)?;
        for (labels, number) in tallies.iter().flat_map(|tally| tally.responses()) {
            responses.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&number, None)?;
        }
        let name = "coredns_dns_request_duration_seconds";
        let mut durations = encoder.encode_descriptor(name, "Time to answer a request", None, MetricType::Histogram)?;
        for tally in &tallies {
            let buckets = tally.buckets();
            let count = buckets.iter().map(|&(_, number)| number).sum();
            let seconds = Duration::from_nanos(tally.sum(|shard| &shard.nanos)).as_secs_f64();
            let labels = tally.labels();
            durations.encode_family(&labels)?.encode_histogram::<NoLabelSet>(seconds, count, &buckets, None)?;
        }
        Ok(())
    }
}

fn bucket_of(nanos: u64) -> usize {
    let times = nanos.saturating_sub(1) / FIRST_BUCKET_NANOS;
    ((u64::BITS - times.leading_zeros()) as usize).min(BUCKETS)
}

/// Clients choose the type, so all but the known ones share a name.
fn type_index(qtype: Option<RecordType>) -> usize {
    match qtype.unwrap_or(RecordType(0)) {
        RecordType::A => 0,
        RecordType::AAAA => 1,
        RecordType::SRV => 2,
        RecordType::PTR => 3,
        RecordType::CNAME => 4,
        RecordType::NS => 5,
        RecordType::SOA => 6,
        RecordType::TXT => 7,
        RecordType(15) => 8,
        RecordType(65) => 9,
        RecordType::ANY => 10,
        _ => 11,
    }
}

/// The name under which a query's type is counted and logged.
pub(crate) fn type_name(query: &Query<'_>) -> &'static str {
    TYPE_NAMES[type_index(Some(query.qtype))]
}

/// The name of a response's code.
pub(crate) fn rcode_name(response: &[u8]) -> &'static str {
    RCODE_NAMES[rcode_index(response)]
}

fn rcode_index(response: &[u8]) -> usize {
    let code = response.get(3).map_or(0, |flags| usize::from(flags & 0x0f));
    code.min(RCODE_NAMES.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_responses_are_counted_under_the_known_names() {
        let (metrics, mut registry) = (Metrics::default(), Registry::default());
        metrics.register(&mut registry);
        let tally = metrics.tally("dns://:53".into(), ".".into());
        for reader in 0..2 {
            tally.count(Answered {
                reader,
                transport: Transport::Tcp,
                family: IpFamily::V4,
                qtype: Some(RecordType::AAAA),
                response: b"\0\x01\x81\x03",
                took: Duration::from_millis(1),
            });
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let zone = r#"server="dns://:53",zone=".",view="""#;
        for line in [
            format!(r#"coredns_dns_requests_total{{{zone},proto="tcp",family="1",type="AAAA"}} 2"#),
            format!(r#"coredns_dns_responses_total{{{zone},rcode="NXDOMAIN"}} 2"#),
            format!("coredns_dns_request_duration_seconds_count{{{zone}}} 2"),
            format!(r#"coredns_dns_request_duration_seconds_bucket{{le="0.0005",{zone}}} 0"#),
            format!(r#"coredns_dns_request_duration_seconds_bucket{{le="0.001",{zone}}} 2"#),
        ] {
            assert!(text.lines().any(|other| other == line), "{line} not in {text}");
        }
    }

    #[test]
    fn counters_of_zones_that_are_gone_go_with_them() {
        let (metrics, mut registry) = (Metrics::default(), Registry::default());
        metrics.register(&mut registry);
        drop(metrics.tally("dns://:53".into(), "gone.".into()));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(!text.contains("gone."), "{text}");
    }
    #[test]
    fn a_zone_at_several_addresses_has_one_series() {
        let (metrics, mut registry) = (Metrics::default(), Registry::default());
        metrics.register(&mut registry);
        let tally = |zone: &str| metrics.tally("dns://:53".into(), zone.into());
        let tallies = [tally("."), tally("."), tally("a.")];
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let sums = text.lines().filter(|line| line.contains("_seconds_sum"));
        assert_eq!(sums.count(), 2, "{text}");
        drop(tallies);
    }
}
