//! Asking other servers.

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::debug;

use crate::config::ForwardConfig;
use crate::forward::{self, Cache, CacheKey};
use crate::metrics::Metrics;
use crate::wire::{DomainName, Query};

/// Codes after which another server may know better: SERVFAIL, NOTIMP and REFUSED.
const TRY_NEXT: [u8; 3] = [2, 4, 5];

/// Looks up names of other zones, and remembers what it found.
#[derive(Debug)]
pub(super) struct Forwarder {
    config: ForwardConfig,
    /// The server that answered last, to begin with.
    preferred: AtomicUsize,
    in_flight: Semaphore,
    cache: Mutex<Cache>,
    identifiers: RandomState,
    sent: AtomicUsize,
    metrics: Metrics,
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

/// What to ask other servers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted<'a> {
    /// What the client asks.
    Same,
    /// The same about another name.
    Of(&'a DomainName),
}

impl Forwarder {
    pub(super) fn new(config: ForwardConfig, metrics: Metrics) -> Self {
        Self {
            preferred: AtomicUsize::new(0),
            in_flight: Semaphore::new(config.max_in_flight),
            cache: Mutex::new(Cache::new(config.cache_entries)),
            identifiers: RandomState::new(),
            sent: AtomicUsize::new(0),
            config,
            metrics,
        }
    }

    /// Copies the remembered reply to `query` into `out`, if there is one; it is still to be fitted to the client.
    pub(super) fn read_cache(&self, query: &Query<'_>, out: &mut Vec<u8>) -> bool {
        let found = CacheKey::of(query).is_some_and(|key| self.cache().read(&key, Instant::now(), out));
        if found {
            self.metrics.cache_hits.inc()
        } else {
            self.metrics.cache_misses.inc()
        };
        found
    }

    /// Asks the servers in turn until one knows; over TCP at once if `by_tcp`, else when a reply was cut.
    pub(super) async fn resolve(
        &self,
        query: &Query<'_>,
        wanted: Wanted<'_>,
        by_tcp: bool,
    ) -> Result<Vec<u8>, ForwardError> {
        let Ok(_permit) = self.in_flight.try_acquire() else {
            self.metrics.forward_rejects.inc();
            return Err(ForwardError::TooMany);
        };
        let mut packet = Vec::new();
        match wanted {
            Wanted::Same => forward::write_query(query, self.identifier(), &mut packet),
            Wanted::Of(name) => forward::write_query_for(name, query, self.identifier(), &mut packet),
        }
        let asking = self.ask_in_turn(&packet, by_tcp);
        let reply = timeout(self.config.total_timeout, asking).await.unwrap_or(Err(ForwardError::NoAnswer))?;
        if let (Wanted::Same, Some(key)) = (wanted, CacheKey::of(query)) {
            self.cache().insert(key, &reply, Instant::now());
        }
        Ok(reply)
    }

    async fn ask_in_turn(&self, packet: &[u8], by_tcp: bool) -> Result<Vec<u8>, ForwardError> {
        let servers = &self.config.upstreams;
        if servers.is_empty() {
            return Err(ForwardError::NoUpstream);
        }
        let first = self.preferred.load(Ordering::Relaxed);
        let mut second_best = None;
        // Once around; a server that is alone gets a second chance, as datagrams get lost.
        for turn in 0..servers.len().max(2) {
            let index = (first + turn) % servers.len();
            match self.ask(servers[index], packet, by_tcp).await {
                Ok(reply) if TRY_NEXT.contains(&forward::reply_code(&reply)) => second_best = Some(reply),
                Ok(reply) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return Ok(reply);
                }
                Err(error) => debug!(server = %servers[index], %error, "upstream server did not answer"),
            }
        }
        second_best.ok_or(ForwardError::NoAnswer)
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
    fn identifier(&self) -> u16 {
        let turn = self.sent.fetch_add(1, Ordering::Relaxed);
        self.identifiers.hash_one(turn) as u16
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        // A panic elsewhere leaves a cache that is at worst out of date.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(limit, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Asks over a socket of its own, so that the kernel picks a port nobody can foretell.
async fn ask_by_udp(server: SocketAddr, packet: &[u8]) -> io::Result<Vec<u8>> {
    let any: SocketAddr =
        if server.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(packet).await?;
    let mut reply = vec![0; usize::from(u16::MAX)];
    loop {
        let len = socket.recv(&mut reply).await?;
        if forward::is_reply_to(packet, &reply[..len]) {
            reply.truncate(len);
            return Ok(reply);
        }
    }
}

async fn ask_by_tcp(server: SocketAddr, packet: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(packet.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    stream.write_all(&[&length.to_be_bytes(), packet].concat()).await?;
    let mut reply = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut reply).await?;
    if forward::is_reply_to(packet, &reply) { Ok(reply) } else { Err(io::ErrorKind::InvalidData.into()) }
}
