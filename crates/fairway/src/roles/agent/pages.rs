//! The agent's pages: its own, and those that tools and load balancers ask kube-proxy for.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::announcer::AnnouncerMetrics;
use super::health::Health;
use super::servers::{Servers, listen};
use crate::peers::{self, PeerList};
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
pub(super) fn of_agent(
    health: &Arc<Health>,
    peers: watch::Receiver<Option<PeerList>>,
    announcer: &AnnouncerMetrics,
) -> impl Fn(&str) -> Option<Page> + use<> {
    let (health, registry) = (Arc::clone(health), metrics_of(health, announcer));
    move |path| match path {
        "/healthz" => Some(health.healthz(Timestamp::now())),
        "/livez" => Some(health.livez(Timestamp::now())),
        "/readyz" => Some(health.readyz()),
        "/metrics" => Some(Page::metrics(&registry)),
        peers::PAGE => Some(peers_page(peers.borrow().as_ref())),
        _ => None,
    }
}

fn peers_page(peers: Option<&PeerList>) -> Page {
    match peers.map(serde_json::to_string) {
        Some(Ok(text)) => Page::fine(text).json(),
        Some(Err(error)) => Page::unavailable(format!("{error}\n")),
        None => Page::unavailable("nothing is in force yet\n"),
    }
}

/// Serves kube-proxy's pages at kube-proxy's ports, each whenever nobody else does, until `cancel`.
pub(super) async fn serve_for_kube_proxy(
    health: Arc<Health>,
    announcer: Arc<AnnouncerMetrics>,
    cancel: CancellationToken,
) {
    let places = BTreeSet::from([
        (IpAddr::V4(Ipv4Addr::UNSPECIFIED), HEALTH_PORT),
        (IpAddr::V6(Ipv6Addr::UNSPECIFIED), HEALTH_PORT),
        (IpAddr::V4(Ipv4Addr::LOCALHOST), STATUS_PORT),
    ]);
    let places = places.into_iter().map(SocketAddr::from).collect();
    let mut servers = Servers::new(cancel.clone());
    let mut retry = interval(RETRY);
    while cancel.run_until_cancelled(retry.tick()).await.is_some() {
        let serve = |place: &SocketAddr, cancel| {
            tokio::spawn(serve_place(*place, Arc::clone(&health), Arc::clone(&announcer), cancel)) //
        };
        servers.keep(&places, serve).await;
    }
    servers.end().await;
}

async fn serve_place(
    place: SocketAddr,
    health: Arc<Health>,
    announcer: Arc<AnnouncerMetrics>,
    cancel: CancellationToken,
) {
    let listener = match listen(place) {
        Ok(listener) => listener,
        Err(error) => return debug!(%place, %error, "not answering in kube-proxy's place"),
    };
    info!(%place, "answering in kube-proxy's place");
    let pages = StatusPages::of(listener);
    match place.port() {
        HEALTH_PORT => pages.serve(health_pages(health), cancel).await,
        _ => pages.serve(status_pages(&health, &announcer), cancel).await,
    }
}

fn health_pages(health: Arc<Health>) -> impl Fn(&str) -> Option<Page> {
    move |path| match path {
        "/healthz" => Some(health.healthz(Timestamp::now())),
        "/livez" => Some(health.livez(Timestamp::now())),
        _ => None,
    }
}

fn status_pages(health: &Health, announcer: &AnnouncerMetrics) -> impl Fn(&str) -> Option<Page> + use<> {
    let registry = metrics_of(health, announcer);
    move |path| match path {
        "/healthz" => Some(Page::fine("ok")),
        "/proxyMode" => Some(Page::fine(PROXY_MODE)),
        "/metrics" => Some(Page::metrics(&registry)),
        _ => None,
    }
}

/// What both pages of metrics show.
fn metrics_of(health: &Health, announcer: &AnnouncerMetrics) -> Registry {
    let mut registry = Registry::default();
    health.metrics.register(&mut registry);
    announcer.register(&mut registry);
    registry
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use compile::plan::PolicySide;
    use kubeapi::{Answered, RequestObserver as _};
    use model::{IpFamily, Node};

    use super::super::kernel::{Reconciled, Synced};
    use super::*;

    /// Kinds and labels of metrics by their names.
    type Catalogue = BTreeMap<String, (String, BTreeSet<String>)>;

    /// An agent to which everything has happened that is counted.
    fn experienced() -> Arc<Health> {
        let health = Arc::new(Health::default());
        let synced = |is_full| Synced {
            outcome: datapath::Outcome::default(),
            rejected: Vec::new(),
            took: Duration::from_millis(3),
            is_full,
            services_changed: 1,
            slices_changed: 1,
            triggers: vec![(IpFamily::V4, Duration::from_secs(5))],
            without_local: BTreeMap::from([((PolicySide::External, IpFamily::V4), 2)]),
            reconciled: Some(Reconciled { removed: vec![IpFamily::V4], took: Duration::from_millis(1) }),
        };
        let node = Node {
            name: "node1".into(),
            addresses: vec!["10.89.0.1".parse().unwrap()],
            pod_cidrs: vec![],
            uid: "".into(),
            has_refused_range: false,
            leaving: false,
            created: Duration::ZERO,
            labels: BTreeMap::new(),
        };
        health.queued(Timestamp::now(), &node);
        health.synced(&synced(true), Timestamp::now());
        health.synced(&synced(false), Timestamp::now());
        health.failed(&anyhow::anyhow!("something"));
        health.healthz(Timestamp::now());
        health.livez(Timestamp::now());
        let took = Duration::from_millis(2);
        let request = Answered { method: "GET", host: "10.96.0.1:443", code: Some(200), took };
        health.metrics.requests.answered(&request);
        health
    }

    /// What the agent shows at its own page.
    fn shown() -> Catalogue {
        let page = of_agent(&experienced(), watch::channel(None).1, &AnnouncerMetrics::default())("/metrics");
        catalogue(&page.unwrap())
    }

    fn catalogue(page: &Page) -> Catalogue {
        let mut found = Catalogue::new();
        for (name, kind) in page.body().lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')) {
            let name = match kind {
                "counter" => format!("{name}_total"),
                "info" => format!("{name}_info"),
                _ => name.to_owned(),
            };
            let samples = page.body().lines().filter_map(|line| line.strip_prefix(&*name));
            let with_labels =
                samples.filter_map(|line| line.split_once('{')?.1.split_once('}').map(|(labels, _)| labels));
            let labels = with_labels.flat_map(|labels| labels.split(',').filter_map(|label| label.split_once('=')));
            let labels = labels.map(|(label, _)| label.to_owned()).filter(|label| label != "le").collect();
            found.insert(name, (kind.to_owned(), labels));
        }
        found
    }

    /// What docs/metrics.md says it shows.
    fn documented() -> Catalogue {
        let page = include_str!("../../../../../docs/metrics.md");
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
        let entry = |row: &str| {
            let columns: Vec<&str> = row.split('|').map(str::trim).collect();
            let labels = columns[1].split(',').map(|label| label.trim().trim_matches('`').to_owned());
            let labels = labels.filter(|label| !label.is_empty()).collect();
            (columns[0].trim_matches('`').to_owned(), (columns[2].to_owned(), labels))
        };
        rows.map(entry).collect()
    }

    #[test]
    fn metrics_are_those_of_the_page_about_them_by_name_kind_and_labels() {
        let (shown, documented) = (shown(), documented());
        assert!(shown.len() > 30, "{shown:?}");
        assert_eq!(shown, documented);
    }

    #[test]
    fn what_the_agents_own_page_shows_kube_proxys_shows_too() {
        let page = status_pages(&experienced(), &AnnouncerMetrics::default())("/metrics");
        assert_eq!(catalogue(&page.unwrap()), shown());
    }

    #[test]
    fn what_kube_proxys_dashboards_and_keep_lists_ask_for_is_there() {
        let shown = shown();
        for (name, labels) in [
            ("kubeproxy_sync_proxy_rules_duration_seconds", vec!["ip_family"]),
            ("kubeproxy_network_programming_duration_seconds", vec!["ip_family"]),
            ("rest_client_requests_total", vec!["code", "host", "method"]),
            ("rest_client_request_duration_seconds", vec!["host", "verb"]),
            ("process_resident_memory_bytes", vec![]),
            ("process_cpu_seconds_total", vec![]),
            ("process_start_time_seconds", vec![]),
        ] {
            let labels: BTreeSet<String> = labels.into_iter().map(str::to_owned).collect();
            assert_eq!(shown.get(name).map(|(_, labels)| labels), Some(&labels), "{name}");
        }
    }
}
