//! The agent's pages: its own, and those that tools and load balancers ask kube-proxy for.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::registry::Registry;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::announcer::AnnouncerMetrics;
use super::health::Health;
use super::servers::{Servers, listen};
use crate::roles::status_pages::{Page, StatusPages};

/// Where kube-proxy says whether load balancers may send to the node: clouds ask at every address of it.
const HEALTH_PORT: u16 = 10256;
/// Where kube-proxy tells the node alone how it works.
const STATUS_PORT: u16 = 10249;
/// What kube-proxy calls the way in which the agent, too, carries Services.
const PROXY_MODE: &str = "nftables";
/// How often a port that somebody else has, first of all kube-proxy itself, is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// The agent's own pages, by path.
pub(super) fn of_agent(health: &Arc<Health>, announcer: &AnnouncerMetrics) -> impl Fn(&str) -> Option<Page> + use<> {
    let (health, mut registry) = (Arc::clone(health), metrics_of(health));
    announcer.register(&mut registry);
    move |path| match path {
        "/healthz" => Some(health.healthz(Timestamp::now())),
        "/livez" => Some(health.livez(Timestamp::now())),
        "/readyz" => Some(health.readyz()),
        "/metrics" => Some(Page::metrics(&registry)),
        _ => None,
    }
}

/// Serves kube-proxy's pages at kube-proxy's ports, each whenever nobody else does, until `cancel`.
pub(super) async fn serve_for_kube_proxy(health: Arc<Health>, cancel: CancellationToken) {
    let places = BTreeSet::from([
        (IpAddr::V4(Ipv4Addr::UNSPECIFIED), HEALTH_PORT),
        (IpAddr::V6(Ipv6Addr::UNSPECIFIED), HEALTH_PORT),
        (IpAddr::V4(Ipv4Addr::LOCALHOST), STATUS_PORT),
    ]);
    let places = places.into_iter().map(SocketAddr::from).collect();
    let mut servers = Servers::new(cancel.clone());
    let mut retry = interval(RETRY);
    while cancel.run_until_cancelled(retry.tick()).await.is_some() {
        servers.keep(&places, |place, cancel| tokio::spawn(serve_place(*place, Arc::clone(&health), cancel))).await;
    }
    servers.end().await;
}

async fn serve_place(place: SocketAddr, health: Arc<Health>, cancel: CancellationToken) {
    let listener = match listen(place) {
        Ok(listener) => listener,
        Err(error) => return debug!(%place, %error, "not answering in kube-proxy's place"),
    };
    info!(%place, "answering in kube-proxy's place");
    let pages = StatusPages::of(listener);
    match place.port() {
        HEALTH_PORT => pages.serve(health_pages(health), cancel).await,
        _ => pages.serve(status_pages(&health), cancel).await,
    }
}

fn health_pages(health: Arc<Health>) -> impl Fn(&str) -> Option<Page> {
    move |path| match path {
        "/healthz" => Some(health.healthz(Timestamp::now())),
        "/livez" => Some(health.livez(Timestamp::now())),
        _ => None,
    }
}

fn status_pages(health: &Health) -> impl Fn(&str) -> Option<Page> + use<> {
    let registry = metrics_of(health);
    move |path| match path {
        "/healthz" => Some(Page::fine("ok")),
        "/proxyMode" => Some(Page::fine(PROXY_MODE)),
        "/metrics" => Some(Page::metrics(&registry)),
        _ => None,
    }
}

fn metrics_of(health: &Health) -> Registry {
    let mut registry = Registry::default();
    health.metrics.register(&mut registry);
    registry
}
