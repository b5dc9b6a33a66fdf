//! The DNS server: the cluster's names from its objects, all others from the servers of the node.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use arc_swap::ArcSwap;
use dns::io::Server;
use dns::{Config, DEFAULT_TTL, Metrics, RawConfig, Zone, parse_nameservers};
use kubeapi::{ClusterWatch, ObjectKind};
use model::Cluster;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::api_args::ApiArgs;
use super::status_pages::{Page, StatusPages};

/// Options of the DNS server.
#[derive(Debug, clap::Args)]
pub struct DnsArgs {
    /// Cluster domain.
    #[arg(long, value_name = "DOMAIN", env = "FAIRWAY_DNS_ZONE", default_value = "cluster.local")]
    zone: String,
    /// Address to answer on, over UDP and TCP; may be repeated.
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "FAIRWAY_DNS_LISTEN",
        value_delimiter = ',',
        default_value = "0.0.0.0:53"
    )]
    listen: Vec<SocketAddr>,
    /// Seconds a client may keep an answer about the cluster, 0 to 3600.
    #[arg(long, value_name = "SECONDS", env = "FAIRWAY_DNS_TTL", default_value_t = DEFAULT_TTL)]
    ttl: u32,
    /// File that names the servers to ask about everything outside the cluster.
    #[arg(long, value_name = "FILE", env = "FAIRWAY_DNS_RESOLV_CONF", default_value = "/etc/resolv.conf")]
    resolv_conf: PathBuf,
    /// Service in front of the DNS servers, as NAMESPACE/NAME; it is the zone's name server.
    #[arg(long, value_name = "SERVICE", env = "FAIRWAY_DNS_SERVICE", default_value = "kube-system/kube-dns")]
    dns_service: String,
    /// Address of the page /health.
    #[arg(long, value_name = "ADDRESS", env = "FAIRWAY_DNS_HEALTH", default_value = "0.0.0.0:8080")]
    health_address: SocketAddr,
    /// Address of the page /ready.
    #[arg(long, value_name = "ADDRESS", env = "FAIRWAY_DNS_READY", default_value = "0.0.0.0:8181")]
    ready_address: SocketAddr,
    /// Address of the page /metrics.
    #[arg(long, value_name = "ADDRESS", env = "FAIRWAY_DNS_METRICS", default_value = "0.0.0.0:9153")]
    metrics_address: SocketAddr,
    /// Seconds to go on answering after being told to end, while clients still learn of it.
    #[arg(long, value_name = "SECONDS", env = "FAIRWAY_DNS_LAMEDUCK", default_value_t = 5)]
    lameduck: u64,
    #[command(flatten)]
    api: ApiArgs,
}

/// Runs the DNS server until cancelled.
pub async fn run(args: DnsArgs, cancel: CancellationToken) -> Result<()> {
    let config = config(&args)?;
    let zones = Arc::new(ArcSwap::from_pointee(Zone::unsynced(config.zone.clone())));
    let server = Server::bind(&config, Arc::clone(&zones))?;
    let client = args.api.access().connect().await?;
    let end = CancellationToken::new();
    let pages = open_pages(&args, &zones, server.metrics(), &cancel, &end).await?;
    let kinds = vec![ObjectKind::Namespace, ObjectKind::Service, ObjectKind::EndpointSlice];
    let cluster = ClusterWatch::start(client, kinds, end.clone());
    tokio::join!(
        server.run(end.clone()),
        keep_zone(cluster.snapshots(), &zones, &end),
        pages,
        end_after(&cancel, Duration::from_secs(args.lameduck), &end),
    );
    cluster.join().await;
    Ok(())
}

/// Makes a zone of every snapshot.
async fn keep_zone(mut snapshots: watch::Receiver<Option<Cluster>>, zones: &ArcSwap<Zone>, end: &CancellationToken) {
    let keeping = async {
        while snapshots.changed().await.is_ok() {
            let Some(cluster) = snapshots.borrow_and_update().clone() else { continue };
            zones.store(Arc::new(zones.load().updated(&cluster, serial_now())));
        }
    };
    end.run_until_cancelled(keeping).await;
}

/// The serial of a zone made now: seconds since 1970, as CoreDNS has it.
fn serial_now() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as u32)
}

/// Opens the listeners of `/health`, `/ready` and `/metrics`; what is returned serves them until `end`.
///
/// Not ready before the first zone is made, nor after `cancel`.
async fn open_pages(
    args: &DnsArgs,
    zones: &Arc<ArcSwap<Zone>>,
    metrics: &Metrics,
    cancel: &CancellationToken,
    end: &CancellationToken,
) -> Result<impl Future<Output = ()> + use<>> {
    let health = StatusPages::bind(args.health_address).await?;
    let ready = StatusPages::bind(args.ready_address).await?;
    let scraped = StatusPages::bind(args.metrics_address).await?;
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let (zones, cancel, end) = (Arc::clone(zones), cancel.clone(), end.clone());
    Ok(async move {
        let readiness = move || match (cancel.is_cancelled(), zones.load().is_synced()) {
            (true, _) => Page::unavailable("ending"),
            (false, false) => Page::unavailable("kubernetes"),
            (false, true) => Page::fine("OK"),
        };
        tokio::join!(
            health.serve(|path| (path == "/health").then(|| Page::fine("OK")), end.clone()),
            ready.serve(move |path| (path == "/ready").then(&readiness), end.clone()),
            scraped.serve(move |path| (path == "/metrics").then(|| Page::metrics(&registry)), end.clone()),
        );
    })
}

/// Ends the server some time after it was told to: clients keep coming until all nodes know that it goes.
async fn end_after(cancel: &CancellationToken, lameduck: Duration, end: &CancellationToken) {
    cancel.cancelled().await;
    tokio::time::sleep(lameduck).await;
    end.cancel();
}

fn config(args: &DnsArgs) -> Result<Config> {
    let raw = RawConfig {
        listen: args.listen.clone(),
        cluster_domain: args.zone.clone(),
        ttl: args.ttl,
        dns_service: args.dns_service.clone(),
        upstreams: read_upstreams(&args.resolv_conf),
    };
    Ok(Config::new(raw)?)
}

/// The servers a resolver configuration names. Without any, the cluster's names are answered all the same.
fn read_upstreams(path: &Path) -> Vec<SocketAddr> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| {
        warn!(path = %path.display(), %error, "cannot read the resolver configuration");
        String::new()
    });
    let upstreams = parse_nameservers(&text);
    if upstreams.is_empty() {
        warn!(path = %path.display(), "no upstream server: names outside the cluster will fail");
    } else {
        info!(?upstreams, "names outside the cluster are forwarded");
    }
    upstreams
}
