//! `/health`, `/ready` and `/metrics`, where the Corefile says.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use dns::{Config, Metrics, Zones};
use prometheus_client::registry::Registry;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::roles::status_pages::{Page, StatusPages};

/// Which page, and where.
pub(super) type Place = (Kind, SocketAddr);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Health,
    Ready,
    Metrics,
}

/// The pages that are served, each by a task of its own.
pub(super) struct PageSet {
    state: Arc<State>,
    served: BTreeMap<Place, (CancellationToken, JoinHandle<()>)>,
}

/// What the pages say.
struct State {
    zones: Zones,
    registry: Registry,
    /// Whether the Corefile has names of the cluster.
    has_names: AtomicBool,
    /// The server is to end.
    cancel: CancellationToken,
}

impl PageSet {
    pub(super) fn new(zones: Zones, metrics: &Metrics, cancel: CancellationToken) -> Self {
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let state = State { zones, registry, has_names: AtomicBool::new(true), cancel };
        Self { state: Arc::new(state), served: BTreeMap::new() }
    }

    /// Opens the listeners that `config` wants beyond those that are open.
    pub(super) async fn open(&self, config: &Config) -> Result<Vec<(Place, StatusPages)>> {
        let mut opened = Vec::new();
        for place in places(config).into_iter().filter(|place| !self.served.contains_key(place)) {
            opened.push((place, bind(place.1).await?));
        }
        Ok(opened)
    }

    /// Serves what was opened, and no longer what `config` does not want.
    pub(super) async fn replace(&mut self, config: &Config, opened: Vec<(Place, StatusPages)>) {
        let has_names = config.blocks.iter().any(|block| !block.kubernetes.is_empty());
        self.state.has_names.store(has_names, Ordering::Relaxed);
        let wanted = places(config);
        let gone: Vec<Place> = self.served.keys().filter(|place| !wanted.contains(place)).copied().collect();
        for place in gone {
            if let Some(task) = self.served.remove(&place) {
                end(task).await;
            }
        }
        for (place, listener) in opened {
            let (state, end) = (Arc::clone(&self.state), CancellationToken::new());
            let serving = listener.serve(move |path| state.page(place.0, path), end.clone());
            self.served.insert(place, (end, tokio::spawn(serving)));
        }
    }

    /// Serves nothing any more.
    pub(super) async fn stop(self) {
        for task in self.served.into_values() {
            end(task).await;
        }
    }
}

impl State {
    fn page(&self, kind: Kind, path: &str) -> Option<Page> {
        match (kind, path) {
            (Kind::Health, "/health") => Some(Page::fine("OK")),
            (Kind::Ready, "/ready") => Some(self.readiness()),
            (Kind::Metrics, "/metrics") => Some(Page::metrics(&self.registry)),
            _ => None,
        }
    }

    /// Not ready before the cluster is known, nor once the server is to end.
    fn readiness(&self) -> Page {
        let knows_names = self.zones.is_synced() || !self.has_names.load(Ordering::Relaxed);
        match (self.cancel.is_cancelled(), knows_names) {
            (true, _) => Page::unavailable("ending"),
            (false, false) => Page::unavailable("kubernetes"),
            (false, true) => Page::fine("OK"),
        }
    }
}

fn places(config: &Config) -> Vec<Place> {
    let pages = &config.pages;
    let of =
        |kind: Kind, addresses: &[SocketAddr]| addresses.iter().map(|&address| (kind, address)).collect::<Vec<_>>();
    [of(Kind::Health, &pages.health), of(Kind::Ready, &pages.ready), of(Kind::Metrics, &pages.metrics)].concat()
}

/// Opens a listener. Every address means every address of IPv4 on a machine without IPv6.
async fn bind(address: SocketAddr) -> Result<StatusPages> {
    match StatusPages::bind(address).await {
        Err(_) if address.is_ipv6() && address.ip().is_unspecified() => {
            StatusPages::bind((Ipv4Addr::UNSPECIFIED, address.port()).into()).await
        }
        outcome => outcome,
    }
}

async fn end((end, task): (CancellationToken, JoinHandle<()>)) {
    end.cancel();
    // It has no result, and one that panicked has been told of by the runtime.
    let _ = task.await;
}
