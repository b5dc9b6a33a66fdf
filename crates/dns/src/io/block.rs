//! A server block at work: its directives in CoreDNS's order.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{debug, warn};

use super::forwarder::{ForwardError, Forwarder};
use super::guard::LoopGuard;
use crate::answer::{Reply, Transport, answer, answer_alias};
use crate::config::{BlockConfig, ForwardConfig};
use crate::forward::{Cache, Kept, fit_to_client, is_conclusive, shuffle_addresses};
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

/// How a client is answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// How the client came, and so how others are asked for it.
    pub(super) came_by: Transport,
    /// How much the answer may hold.
    pub(super) room: Transport,
    /// Varies the order of addresses.
    pub(super) seed: u64,
}

/// What a look at what is at hand came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// The response is complete.
    Done,
    /// The response is complete, and the forwarder of this index should fetch a newer one for the next client.
    Renew(usize),
    /// The response has to wait for another one.
    Wait(Missing),
}

/// What a response has to wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// What the forwarder of this index is told.
    Reply(usize),
    /// What this name leads to, elsewhere, for which the zone of this index has an alias.
    Target(usize, DomainName),
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

    /// Answers a query into `out` from what is at hand.
    pub(super) fn look(&self, query: &Query<'_>, manner: Manner, out: &mut Vec<u8>) -> Look {
        let how = self.how(manner);
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
                Reply::Chase(target) => return Look::Wait(Missing::Target(index, target)),
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
        let Some(cache) = self.cache_for(query) else {
            return Look::Wait(Missing::Reply(index));
        };
        let kept = cache.read(query, Instant::now(), out);
        if kept == Kept::Nothing {
            self.metrics.cache_misses.inc();
            return Look::Wait(Missing::Reply(index));
        }
        self.metrics.cache_hits.inc();
        self.fit(query, how, out);
        if kept == Kept::Renew { Look::Renew(index) } else { Look::Done }
    }

    /// Asks other servers; where they do not know, what they said before is given if it may.
    pub(super) async fn ask(&self, index: usize, query: &Query<'_>, manner: Manner, out: &mut Vec<u8>) {
        match self.fetch(index, query, manner.came_by).await {
            Ok(reply) if is_conclusive(&reply) => *out = reply,
            _ if self.read_stale(query, out) => {}
            Ok(reply) => *out = reply,
            Err(error) => return self.write_failure(query, &error, out),
        }
        self.fit(query, self.how(manner), out);
    }

    /// Asks other servers for the sake of the next client.
    pub(super) async fn renew(&self, index: usize, query: &Query<'_>, came_by: Transport) {
        if let Err(error) = self.fetch(index, query, came_by).await {
            debug!(name = ?query.name, qtype = type_name(query), %error, "cannot renew an answer");
        }
    }

    /// Asks other servers, and keeps what they say.
    async fn fetch(&self, index: usize, query: &Query<'_>, came_by: Transport) -> Result<Vec<u8>, ForwardError> {
        let reply = self.forwarders[index].resolve(query, came_by == Transport::Tcp).await?;
        if let Some(cache) = self.cache_for(query) {
            cache.insert(query, &reply, Instant::now());
        }
        Ok(reply)
    }

    /// Reads what other servers said before, if it may be given although it is too old.
    fn read_stale(&self, query: &Query<'_>, out: &mut Vec<u8>) -> bool {
        let found = self.cache_for(query).is_some_and(|cache| cache.read_stale(query, Instant::now(), out));
        if found {
            self.metrics.cache_served_stale.inc();
        }
        found
    }

    /// Completes an answer with the reply that came for its alias.
    pub(super) fn complete_alias(
        &self,
        index: usize,
        query: &Query<'_>,
        manner: Manner,
        (reply, out): (&[u8], &mut Vec<u8>),
    ) {
        answer_alias(query, &self.zones[index].load(), self.how(manner), reply, out);
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

    /// The cache, if answers to this query may be kept.
    fn cache_for(&self, query: &Query<'_>) -> Option<&Cache> {
        self.cache.as_ref().filter(|cache| cache.takes(query))
    }

    /// How much an answer may hold, and what varies it, as far as the configuration goes along.
    fn how(&self, manner: Manner) -> (Transport, u64) {
        let room = match manner.room {
            Transport::Udp { .. } => Transport::Udp { max_payload: self.config.max_udp_payload },
            Transport::Tcp => Transport::Tcp,
        };
        (room, if self.config.shuffle { manner.seed } else { 0 })
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
