//! A server block at work: its directives in CoreDNS's order.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::warn;

use super::forwarder::{ForwardError, Forwarder};
use super::guard::LoopGuard;
use crate::answer::{Reply, Transport, answer, answer_alias};
use crate::config::{BlockConfig, ForwardConfig};
use crate::forward::{Cache, Kept, fit_to_client, shuffle_addresses};
use crate::hosts::answer_hosts;
use crate::metrics::{Metrics, type_name};
use crate::wire::{DomainName, Query, Rcode, Response};
use crate::zone::{Zone, Zones};

/// A server block at work.
#[derive(Debug)]
pub(super) struct Block {
    config: BlockConfig,
    zones: Vec<Arc<ArcSwap<Zone>>>,
    forwarders: Vec<Arc<Forwarder>>,
    cache: Option<Cache>,
    guard: Option<Arc<LoopGuard>>,
    metrics: Metrics,
    /// Ends the search for loops.
    end: CancellationToken,
    _end: DropGuard,
}

/// What a look at what is at hand came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// The response is complete.
    Done,
    /// The response is complete, and a newer one should be fetched for the next client.
    Renew(usize),
    /// The forwarder of this index knows.
    Ask(usize),
    /// The zone of this index has an alias for a name elsewhere; the response holds the alias.
    Chase(usize, DomainName),
}

impl Block {
    pub(super) fn new(config: BlockConfig, zones: &Zones, metrics: &Metrics) -> Self {
        let zone = config.served.first().map(|(_, zone)| zone);
        let forwarder = |config: &ForwardConfig| Arc::new(Forwarder::new(config.clone(), metrics.clone()));
        let end = CancellationToken::new();
        Self {
            zones: config.kubernetes.iter().map(|settings| zones.zone(settings)).collect(),
            forwarders: config.forward.iter().map(forwarder).collect(),
            cache: config.cache.clone().map(Cache::new),
            guard: zone.filter(|_| config.loop_guard).and_then(LoopGuard::new).map(Arc::new),
            metrics: metrics.clone(),
            _end: end.clone().drop_guard(),
            end,
            config,
        }
    }

    pub(super) fn config(&self) -> &BlockConfig {
        &self.config
    }

    /// How much of an answer a client of this transport can take.
    pub(super) fn transport(&self, transport: Transport) -> Transport {
        match transport {
            Transport::Udp { .. } => Transport::Udp { max_payload: self.config.max_udp_payload },
            Transport::Tcp => Transport::Tcp,
        }
    }

    /// Answers a query into `out` from what is at hand.
    pub(super) fn look(&self, query: &Query<'_>, (transport, seed): (Transport, u64), out: &mut Vec<u8>) -> Look {
        let how = (self.transport(transport), self.seed(seed));
        if let Some(guard) = &self.guard {
            guard.note(query);
        }
        if let Some(hosts) = &self.config.hosts
            && !matches!(answer_hosts(query, hosts, how, out), Reply::Forward)
        {
            return Look::Done;
        }
        for (index, zone) in self.zones.iter().enumerate() {
            match answer(query, &zone.load(), how, out) {
                Reply::Forward => {}
                Reply::Chase(target) => return Look::Chase(index, target),
                Reply::Ready(_) | Reply::Ignore => return Look::Done,
            }
        }
        self.look_elsewhere(query, how, out)
    }

    fn look_elsewhere(&self, query: &Query<'_>, how: (Transport, u64), out: &mut Vec<u8>) -> Look {
        let is_in_circle = self.guard.as_ref().is_some_and(|guard| guard.has_loop());
        let taking = self.forwarders.iter().position(|forwarder| forwarder.takes(&query.name));
        let Some(index) = taking.filter(|_| !is_in_circle) else {
            // As CoreDNS has it: a block without anything that answers refuses, one that is at its end has failed.
            let has_any = self.config.hosts.is_some() || !self.zones.is_empty() || !self.forwarders.is_empty();
            let rcode = if has_any { Rcode::ServFail } else { Rcode::Refused };
            Response::start(query, how.0.limit(query), out).finish_without_authority(rcode);
            return Look::Done;
        };
        let Some(cache) = self.cache.as_ref().filter(|cache| cache.takes(query)) else {
            return Look::Ask(index);
        };
        let kept = cache.read(query, Instant::now(), out);
        if kept == Kept::Nothing {
            self.metrics.cache_misses.inc();
            return Look::Ask(index);
        }
        self.metrics.cache_hits.inc();
        self.fit(query, how, out);
        if kept == Kept::Renew { Look::Renew(index) } else { Look::Done }
    }

    /// Asks other servers, and keeps what they say.
    pub(super) async fn ask(&self, index: usize, query: &Query<'_>, how: (Transport, u64), out: &mut Vec<u8>) {
        let how = (self.transport(how.0), self.seed(how.1));
        let cache = self.cache.as_ref().filter(|cache| cache.takes(query));
        match self.forwarders[index].resolve(query, how.0 == Transport::Tcp).await {
            Ok(reply) => {
                if let Some(cache) = cache {
                    cache.insert(query, &reply, Instant::now());
                }
                *out = reply;
                self.fit(query, how, out);
            }
            Err(_) if cache.is_some_and(|cache| cache.read_stale(query, Instant::now(), out)) => {
                self.metrics.cache_served_stale.inc();
                self.fit(query, how, out);
            }
            Err(error) => self.write_failure(query, &error, out),
        }
    }

    /// Completes an answer with the reply that came for its alias.
    pub(super) fn complete_alias(
        &self,
        index: usize,
        query: &Query<'_>,
        (transport, seed): (Transport, u64),
        (reply, out): (&[u8], &mut Vec<u8>),
    ) {
        let how = (self.transport(transport), self.seed(seed));
        answer_alias(query, &self.zones[index].load(), how, reply, out);
    }

    /// The search for loops, if there is anything to search: it ends when a server has answered, or with the block.
    ///
    /// Only the servers are asked that names of the block's own zone go to. Those of a part of it may well ask this
    /// server about all the rest.
    pub(super) fn look_for_loops(&self) -> Option<impl Future<Output = ()> + Send + use<>> {
        let guard = Arc::clone(self.guard.as_ref()?);
        let name = guard.name();
        let forwarder = Arc::clone(self.forwarders.iter().find(|forwarder| forwarder.takes(&name))?);
        let end = self.end.clone();
        Some(async move {
            end.run_until_cancelled(guard.probe(&forwarder)).await;
        })
    }

    fn fit(&self, query: &Query<'_>, (transport, seed): (Transport, u64), out: &mut Vec<u8>) {
        if self.config.shuffle {
            shuffle_addresses(out, seed);
        }
        fit_to_client(out, query, transport.limit(query));
    }

    fn seed(&self, seed: u64) -> u64 {
        if self.config.shuffle { seed } else { 0 }
    }

    fn write_failure(&self, query: &Query<'_>, error: &ForwardError, out: &mut Vec<u8>) {
        if self.config.errors {
            warn!(name = ?query.name, qtype = type_name(query), %error, "query failed");
        }
        let rcode = match error {
            ForwardError::TooMany => Rcode::Refused,
            ForwardError::NoUpstream | ForwardError::NoAnswer => Rcode::ServFail,
        };
        Response::start(query, usize::from(u16::MAX), out).finish_without_authority(rcode);
    }
}
