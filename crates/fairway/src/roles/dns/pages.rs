//! `/health`, `/ready` and `/metrics`, where the Corefile says.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use dns::{Config, Metrics, Zones};
use prometheus_client::registry::Registry;
use tokio::net::{TcpListener, TcpSocket};
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
    pub(super) fn open(&self, config: &Config) -> Result<Vec<(Place, StatusPages)>> {
        let wanted = places(config);
        if let Some((one, other)) = meeting(&wanted) {
            bail!(
                "{} and {} are the same place for two pages: give one another port",
                described(one),
                described(other)
            );
        }
        let mut opened = Vec::new();
        for place in wanted.into_iter().filter(|place| !self.served.contains_key(place)) {
            opened.push((place, bind(place.1).with_context(|| format!("cannot serve {}", described(place)))?));
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

/// Two different pages that a request could not tell apart.
fn meeting(places: &[Place]) -> Option<(Place, Place)> {
    let meet = |one: &Place, other: &Place| {
        let (one_ip, other_ip) = (one.1.ip(), other.1.ip());
        let overlap = one_ip == other_ip || one_ip.is_unspecified() || other_ip.is_unspecified();
        one.0 != other.0 && one.1.port() == other.1.port() && one.1.port() != 0 && overlap
    };
    places.iter().enumerate().find_map(|(index, one)| {
        let other = places[index + 1..].iter().find(|other| meet(one, other))?;
        Some((*one, *other))
    })
}

fn described((kind, address): Place) -> String {
    let plugin = match kind {
        Kind::Health => "health",
        Kind::Ready => "ready",
        Kind::Metrics => "prometheus",
    };
    format!("{plugin} {address}")
}

/// Opens a listener. Every address means every address of IPv4 on a machine without IPv6.
fn bind(address: SocketAddr) -> io::Result<StatusPages> {
    match listen(address) {
        Err(_) if address.is_ipv6() && address.ip().is_unspecified() => {
            listen((Ipv4Addr::UNSPECIFIED, address.port()).into())
        }
        outcome => outcome,
    }
    .map(StatusPages::of)
}

/// Listens also where a page listens that is about to move: its place is given up only when the new one is there.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    const BACKLOG: u32 = 128;
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn end((end, task): (CancellationToken, JoinHandle<()>)) {
    end.cancel();
    // It has no result, and one that panicked has been told of by the runtime.
    let _ = task.await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(addresses: [&str; 2]) -> Vec<Place> {
        let [health, ready] = addresses.map(|address| address.parse().unwrap());
        vec![(Kind::Health, health), (Kind::Ready, ready)]
    }

    #[test]
    fn two_pages_at_one_place_are_told_by_their_plugins() {
        for addresses in [["[::]:8080", "[::]:8080"], ["[::]:8080", "127.0.0.1:8080"], ["127.0.0.1:1", "127.0.0.1:1"]] {
            let (one, other) = meeting(&places(addresses)).unwrap();
            assert_eq!(
                [described(one), described(other)],
                [0, 1].map(|index| { format!("{} {}", ["health", "ready"][index], addresses[index]) })
            );
        }
        for addresses in [["[::]:8080", "[::]:8181"], ["127.0.0.1:8080", "127.0.0.2:8080"]] {
            assert_eq!(meeting(&places(addresses)), None);
        }
    }

    #[tokio::test]
    async fn a_page_moves_to_a_place_that_overlaps_the_one_it_had() {
        let everywhere = listen("0.0.0.0:0".parse().unwrap()).unwrap();
        let port = everywhere.local_addr().unwrap().port();
        bind((Ipv4Addr::LOCALHOST, port).into()).unwrap();
    }
}
