//! The server: listeners around the server blocks of a configuration that may change.

use std::collections::BTreeMap;
use std::io::{self, PipeWriter};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::block::Block;
use super::listener::{Routes, SharedRoutes};
use super::resolver::Arrivals;
use super::socket::{BindError, Opened, is_family_absent, open};
use super::{tcp, udp};
use crate::config::Config;
use crate::metrics::Metrics;
use crate::zone::Zones;

/// How long answers that are under way may take after the server was told to end.
const DRAIN: Duration = Duration::from_secs(2);

/// A DNS server. Clones are the same server.
#[derive(Clone, Debug)]
pub struct Server(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    zones: Zones,
    metrics: Metrics,
    runtime: Handle,
    tasks: TaskTracker,
    serving: Mutex<Serving>,
}

/// What is being served.
#[derive(Debug, Default)]
struct Serving {
    listeners: BTreeMap<SocketAddr, Listener>,
    blocks: Vec<Arc<Block>>,
}

/// The readers of one address; they end when it is dropped.
#[derive(Debug)]
struct Listener {
    /// Where it really is: port zero is chosen by the kernel.
    address: SocketAddr,
    routes: SharedRoutes,
    is_ending: Arc<AtomicBool>,
    _end_udp: PipeWriter,
    _end_tcp: DropGuard,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.is_ending.store(true, Ordering::Relaxed);
    }
}

impl Server {
    /// A server that answers nothing yet; its names come from `zones`. Needs a tokio runtime.
    pub fn new(zones: Zones) -> Self {
        Self(Arc::new(Inner {
            zones,
            metrics: Metrics::default(),
            runtime: Handle::current(),
            tasks: TaskTracker::new(),
            serving: Mutex::default(),
        }))
    }

    /// Serves what `config` says, from now on and without losing a query; when an address cannot be listened on, all
    /// stays as it was.
    ///
    /// Addresses and blocks that stay keep their sockets and caches.
    pub fn apply(&self, config: &Config) -> Result<(), BindError> {
        let mut serving = self.serving();
        let blocks: Vec<Arc<Block>> = config.blocks.iter().map(|block| self.block(block, &serving.blocks)).collect();
        let mut wanted: Vec<SocketAddr> =
            config.blocks.iter().flat_map(|block| &block.served).map(|(address, _)| *address).collect();
        wanted.sort_unstable();
        wanted.dedup();
        // All that can fail comes before anything that changes.
        let new = wanted.iter().copied().filter(|address| !serving.listeners.contains_key(address));
        let started = self.start(new, &blocks)?;
        for (address, listener) in &serving.listeners {
            listener.routes.store(Arc::new(Routes::at(*address, &blocks, &self.0.metrics)));
        }
        serving.listeners.extend(started);
        serving.listeners.retain(|address, _| wanted.contains(address));
        self.look_for_loops(&blocks, &serving.blocks);
        serving.blocks = blocks;
        drop(serving);
        info!(addresses = ?self.addresses(), "answering DNS queries");
        Ok(())
    }

    /// The addresses listened on, each over UDP and TCP.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.serving().listeners.values().map(|listener| listener.address).collect()
    }

    /// What it counts.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Answers queries until `cancel`, then lets answers under way go out for a moment.
    pub async fn run(self, cancel: CancellationToken) {
        cancel.cancelled().await;
        *self.serving() = Serving::default();
        self.0.tasks.close();
        if timeout(DRAIN, self.0.tasks.wait()).await.is_err() {
            warn!(answers = self.0.tasks.len(), "gave up waiting for answers under way");
        }
    }

    fn block(&self, config: &crate::config::BlockConfig, old: &[Arc<Block>]) -> Arc<Block> {
        match old.iter().find(|block| block.config() == config) {
            Some(block) => Arc::clone(block),
            None => Arc::new(Block::new(config.clone(), &self.0.zones, &self.0.metrics)),
        }
    }

    /// Starts the readers of addresses, once all of them can be listened on.
    fn start(
        &self,
        addresses: impl Iterator<Item = SocketAddr>,
        blocks: &[Arc<Block>],
    ) -> Result<Vec<(SocketAddr, Listener)>, BindError> {
        let mut opened = Vec::new();
        for address in addresses {
            match open(address, sockets()) {
                Ok(sockets) => opened.push((address, sockets)),
                Err(error) if is_family_absent(&error) => debug!(%address, "this machine has no such addresses"),
                Err(error) => return Err(error),
            }
        }
        opened.into_iter().map(|(address, sockets)| Ok((address, self.listen(address, sockets, blocks)?))).collect()
    }

    /// Starts the readers of an address.
    fn listen(&self, key: SocketAddr, sockets: Opened, blocks: &[Arc<Block>]) -> Result<Listener, BindError> {
        let address = sockets.tcp.local_addr().unwrap_or(key);
        let routes = Arc::new(ArcSwap::from_pointee(Routes::at(key, blocks, &self.0.metrics)));
        let is_ending = Arc::new(AtomicBool::new(false));
        let refused = |source: io::Error| BindError { address, protocol: "UDP", source };
        let (end, end_udp) = io::pipe().map_err(refused)?;
        for (number, socket) in sockets.udp.into_iter().enumerate() {
            let reader = udp::Reader {
                socket: Arc::new(socket),
                routes: Arc::clone(&routes),
                tasks: self.0.tasks.clone(),
                runtime: self.0.runtime.clone(),
                end: end.try_clone().map_err(refused)?,
                is_ending: Arc::clone(&is_ending),
                arrivals: Arrivals::over_udp(number),
            };
            let running = self.0.tasks.token();
            let thread = thread::Builder::new().name(format!("dns-udp-{number}")).spawn(move || {
                let _running = running;
                reader.run();
            });
            thread.map_err(refused)?;
        }
        let end_tcp = CancellationToken::new();
        let accepting = tcp::accept(sockets.tcp, Arc::clone(&routes), self.0.tasks.clone(), end_tcp.clone());
        self.0.tasks.spawn_on(end_tcp.clone().run_until_cancelled_owned(accepting), &self.0.runtime);
        Ok(Listener { address, routes, is_ending, _end_udp: end_udp, _end_tcp: end_tcp.drop_guard() })
    }

    fn look_for_loops(&self, blocks: &[Arc<Block>], old: &[Arc<Block>]) {
        for block in blocks.iter().filter(|block| !old.iter().any(|old| Arc::ptr_eq(old, block))) {
            if let Some(looking) = block.look_for_loops() {
                self.0.tasks.spawn_on(looking, &self.0.runtime);
            }
        }
    }

    fn serving(&self) -> MutexGuard<'_, Serving> {
        // A panic elsewhere leaves listeners as they are.
        self.0.serving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As many sockets and readers as there are cores.
fn sockets() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}
