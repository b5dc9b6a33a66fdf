//! The server: readers of all sockets around one zone and one forwarder.

use std::hash::{BuildHasher as _, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use model::IpFamily;
use tokio::net::{TcpListener, UdpSocket};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::forwarder::{ForwardError, Forwarder, Wanted};
use super::socket::{BindError, open_tcp, open_udp};
use super::{tcp, udp};
use crate::answer::{Reply, Transport, answer, answer_alias, respond};
use crate::config::Config;
use crate::forward::fit_to_client;
use crate::metrics::Metrics;
use crate::wire::{Query, Rcode, Response};
use crate::zone::Zone;

/// How long answers that are under way may take after the server was told to end.
const DRAIN: Duration = Duration::from_secs(2);

/// A DNS server whose sockets are open.
#[derive(Debug)]
pub struct Server {
    udp: Vec<UdpSocket>,
    tcp: Vec<TcpListener>,
    resolver: Arc<Resolver>,
}

impl Server {
    /// Opens the sockets; queries wait in them until [`run`](Self::run). Needs a tokio runtime.
    ///
    /// Whoever holds `zones` stores new ones as snapshots come.
    pub fn bind(config: &Config, zones: Arc<ArcSwap<Zone>>) -> Result<Self, BindError> {
        let metrics = Metrics::default();
        let (mut udp, mut tcp) = (Vec::new(), Vec::new());
        for &address in &config.listen {
            let first = open_udp(address)?;
            // Port zero is chosen by the kernel, once for all sockets of the address.
            let address = first.local_addr().unwrap_or(address);
            udp.push(first);
            for _ in 1..config.sockets.get() {
                udp.push(open_udp(address)?);
            }
            tcp.push(open_tcp(address)?);
        }
        let forwarder = Forwarder::new(config.forward.clone(), metrics.clone());
        let udp_transport = Transport::Udp { max_payload: config.max_udp_payload };
        Ok(Self { udp, tcp, resolver: Arc::new(Resolver { zones, forwarder, udp_transport, metrics }) })
    }

    /// The addresses listened on, each over UDP and TCP.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.tcp.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// What it counts.
    pub fn metrics(&self) -> &Metrics {
        &self.resolver.metrics
    }

    /// Answers queries until `cancel`, then lets answers under way go out for a moment.
    pub async fn run(self, cancel: CancellationToken) {
        info!(addresses = ?self.addresses(), "answering DNS queries");
        let tasks = TaskTracker::new();
        for socket in self.udp {
            let reader = udp::Reader::new(socket, Arc::clone(&self.resolver), tasks.clone());
            tasks.spawn(cancel.clone().run_until_cancelled_owned(reader.run()));
        }
        for listener in self.tcp {
            let accepting = tcp::accept(listener, Arc::clone(&self.resolver), tasks.clone(), cancel.clone());
            tasks.spawn(cancel.clone().run_until_cancelled_owned(accepting));
        }
        cancel.cancelled().await;
        tasks.close();
        if timeout(DRAIN, tasks.wait()).await.is_err() {
            warn!(answers = tasks.len(), "gave up waiting for answers under way");
        }
    }
}

/// A packet on its way through.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    transport: Transport,
    /// Varies the order of addresses between answers.
    seed: u64,
    family: IpFamily,
    since: Instant,
}

/// Makes the arrivals of one reader.
#[derive(Debug)]
pub(super) struct Arrivals {
    transport: Transport,
    seed: u64,
}

impl Arrivals {
    pub(super) fn over(transport: Transport) -> Self {
        Self { transport, seed: RandomState::new().hash_one(()) }
    }

    /// The arrival, now, of a packet of this client.
    pub(super) fn note(&mut self, client: SocketAddr) -> Arrival {
        self.seed = self.seed.wrapping_add(1);
        let family = IpFamily::of(client.ip());
        Arrival { transport: self.transport, seed: self.seed, family, since: Instant::now() }
    }
}

/// What is known after a first look at a packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing may be sent back.
    Ignore,
    /// The response is there.
    Send,
    /// Another server must be asked.
    Wait,
}

/// Answers packets, whichever way they came.
#[derive(Debug)]
pub(super) struct Resolver {
    zones: Arc<ArcSwap<Zone>>,
    forwarder: Forwarder,
    pub(super) udp_transport: Transport,
    metrics: Metrics,
}

impl Resolver {
    /// Answers a packet into `out` from what is at hand.
    pub(super) fn begin(&self, packet: &[u8], arrival: Arrival, out: &mut Vec<u8>) -> Step {
        let step = self.look_up(packet, arrival, out);
        if step == Step::Send {
            self.count(packet, out, arrival);
        }
        step
    }

    /// Answers a packet for which [`begin`](Self::begin) said [`Step::Wait`]; empty if nothing may be sent back.
    pub(super) async fn finish(&self, packet: &[u8], arrival: Arrival) -> Vec<u8> {
        let mut out = Vec::new();
        if let Ok(query) = Query::parse(packet) {
            self.ask(&query, arrival, &mut out).await;
            self.count(packet, &out, arrival);
        }
        out
    }

    fn look_up(&self, packet: &[u8], Arrival { transport, seed, .. }: Arrival, out: &mut Vec<u8>) -> Step {
        match respond(packet, &self.zones.load(), (transport, seed), out) {
            Reply::Ignore => Step::Ignore,
            Reply::Ready(_) => Step::Send,
            Reply::Chase(_) => Step::Wait,
            Reply::Forward => match Query::parse(packet) {
                Ok(query) if self.forwarder.read_cache(&query, out) => {
                    fit_to_client(out, &query, transport.limit(&query));
                    Step::Send
                }
                Ok(_) => Step::Wait,
                Err(_) => Step::Ignore,
            },
        }
    }

    async fn ask(&self, query: &Query<'_>, Arrival { transport, seed, .. }: Arrival, out: &mut Vec<u8>) {
        let zone = self.zones.load_full();
        let by_tcp = transport == Transport::Tcp;
        let asked = match answer(query, &zone, (transport, seed), out) {
            Reply::Forward => self.forwarder.resolve(query, Wanted::Same, by_tcp).await.map(|reply| {
                *out = reply;
                fit_to_client(out, query, transport.limit(query));
            }),
            Reply::Chase(target) => self.forwarder.resolve(query, Wanted::Of(&target), by_tcp).await.map(|reply| {
                answer_alias(query, &zone, (transport, seed), &reply, out);
            }),
            Reply::Ready(_) | Reply::Ignore => Ok(()),
        };
        if let Err(error) = asked {
            write_failure(query, &error, out);
        }
    }

    fn count(&self, packet: &[u8], response: &[u8], arrival: Arrival) {
        self.metrics.count(packet, response, (arrival.transport, arrival.family), arrival.since.elapsed());
    }
}

fn write_failure(query: &Query<'_>, error: &ForwardError, out: &mut Vec<u8>) {
    debug!(name = ?query.name, %error, "query failed");
    let rcode = match error {
        ForwardError::TooMany => Rcode::Refused,
        ForwardError::NoUpstream | ForwardError::NoAnswer => Rcode::ServFail,
    };
    Response::start(query, usize::from(u16::MAX), out).finish_without_authority(rcode);
}
