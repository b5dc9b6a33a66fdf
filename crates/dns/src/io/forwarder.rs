//! Asking other servers.

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::debug;

use super::exchange::{ask_by_tcp, ask_by_udp};
use super::upstream::Upstream;
use crate::config::{ForwardConfig, Policy, is_within};
use crate::forward;
use crate::metrics::Metrics;
use crate::shuffle::shuffled;
use crate::wire::{Query, QueryName};

/// Codes after which another server may know better: SERVFAIL, NOTIMP and REFUSED.
const TRY_NEXT: [u8; 3] = [2, 4, 5];

/// Looks up names of other zones.
#[derive(Debug)]
pub(super) struct Forwarder {
    config: ForwardConfig,
    upstreams: Vec<Arc<Upstream>>,
    in_flight: Semaphore,
    identifiers: RandomState,
    /// How many identifiers were drawn.
    drawn: AtomicUsize,
    /// How often the servers were put in order; apart from the identifiers, or it would skip turns.
    ordered: AtomicUsize,
    metrics: Metrics,
    /// Ends the probes.
    _end: DropGuard,
}

/// Why a name of another zone stays unknown.
#[derive(Debug, thiserror::Error)]
pub(super) enum ForwardError {
    #[error("too many queries wait for upstream servers")]
    TooMany,
    #[error("no upstream server is configured")]
    NoUpstream,
    #[error("no upstream server answered")]
    NoAnswer,
}

impl Forwarder {
    pub(super) fn new(config: ForwardConfig, metrics: Metrics) -> Self {
        let end = CancellationToken::new();
        let upstream = |&address| Arc::new(Upstream::new(address, &config, metrics.clone(), end.clone()));
        Self {
            upstreams: config.upstreams.iter().map(upstream).collect(),
            in_flight: Semaphore::new(config.max_in_flight),
            identifiers: RandomState::new(),
            drawn: AtomicUsize::new(0),
            ordered: AtomicUsize::new(0),
            config,
            metrics,
            _end: end.drop_guard(),
        }
    }

    /// Whether names such as `name` are asked here.
    pub(super) fn takes(&self, name: &QueryName) -> bool {
        name.labels_under(&self.config.from).is_some() && !is_within(name, &self.config.except)
    }

    /// Asks the servers in turn until one knows; `by_tcp` says how the client came.
    pub(super) async fn resolve(&self, query: &Query<'_>, by_tcp: bool) -> Result<Vec<u8>, ForwardError> {
        let mut packet = Vec::new();
        forward::write_query(query, self.identifier(), &mut packet);
        self.send(&packet, by_tcp && !self.config.prefer_udp).await
    }

    /// Asks the servers in turn with a packet of our own, over TCP where that is wished or forced.
    pub(super) async fn send(&self, packet: &[u8], by_tcp: bool) -> Result<Vec<u8>, ForwardError> {
        let Ok(_permit) = self.in_flight.try_acquire() else {
            self.metrics.forward_rejects.inc();
            return Err(ForwardError::TooMany);
        };
        let asking = self.ask_in_turn(packet, by_tcp || self.config.force_tcp);
        timeout(self.config.total_timeout, asking).await.unwrap_or(Err(ForwardError::NoAnswer))
    }

    async fn ask_in_turn(&self, packet: &[u8], by_tcp: bool) -> Result<Vec<u8>, ForwardError> {
        if self.upstreams.is_empty() {
            return Err(ForwardError::NoUpstream);
        }
        let mut second_best = None;
        let order = self.order()?;
        // Once around; a server that is alone gets a second chance, as datagrams get lost.
        for turn in 0..order.len().max(2) {
            let upstream = &order[turn % order.len()];
            match self.ask(upstream.address(), packet, by_tcp).await {
                Ok(reply) if TRY_NEXT.contains(&forward::reply_code(&reply)) => second_best = Some(reply),
                Ok(reply) => return Ok(reply),
                Err(error) => {
                    debug!(server = %upstream.address(), %error, "upstream server did not answer");
                    upstream.note_failure();
                }
            }
        }
        second_best.ok_or(ForwardError::NoAnswer)
    }

    /// The servers in the order of the policy, those that are left alone last.
    fn order(&self) -> Result<Vec<Arc<Upstream>>, ForwardError> {
        let len = self.upstreams.len();
        let turn = self.ordered.fetch_add(1, Ordering::Relaxed);
        let order: Vec<usize> = match self.config.policy {
            Policy::Sequential => (0..len).collect(),
            Policy::RoundRobin => (0..len).map(|place| (turn + place) % len).collect(),
            Policy::Random => shuffled(len, self.identifiers.hash_one(turn)).collect(),
        };
        let upstreams = order.into_iter().map(|index| Arc::clone(&self.upstreams[index]));
        let (healthy, left_alone): (Vec<_>, Vec<_>) = upstreams.partition(|upstream| upstream.is_healthy());
        if healthy.is_empty() {
            self.metrics.forward_all_broken.inc();
            if self.config.fail_fast {
                return Err(ForwardError::NoAnswer);
            }
        }
        Ok(if healthy.is_empty() { left_alone } else { healthy })
    }

    async fn ask(&self, server: SocketAddr, packet: &[u8], by_tcp: bool) -> io::Result<Vec<u8>> {
        let limit = self.config.attempt_timeout;
        if by_tcp {
            return within(limit, ask_by_tcp(server, packet)).await;
        }
        let reply = within(limit, ask_by_udp(server, packet)).await?;
        if !forward::is_truncated(&reply) {
            return Ok(reply);
        }
        Ok(within(limit, ask_by_tcp(server, packet)).await.unwrap_or(reply))
    }

    /// An identifier that nobody who does not see our packets can foretell.
    pub(super) fn identifier(&self) -> u16 {
        let turn = self.drawn.fetch_add(1, Ordering::Relaxed);
        self.identifiers.hash_one(turn) as u16
    }
}

/// Does `work`, but no longer than `limit`.
pub(super) async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(limit, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
