//! The controller: what is decided once for the whole cluster. One replica acts, the others wait to take over.
//!
//! It gives nodes ranges of pod addresses when nobody else does: most clusters have their controller manager do that,
//! some do not. And it gives Services of type LoadBalancer their addresses.

mod backoff;
mod load_balancer;
mod metrics;
mod news;
mod ranges;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{ArgAction, ValueEnum};
use compile::allocation::Pool;
use ipnet::IpNet;
use kubeapi::{CONTROLLER, Candidate, Client, ClusterWatch, ObjectKind, RejectionSender, Timing};
use model::{Cluster, Node};
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::api_args::ApiArgs;
use super::ranges::Ranges;
use super::status_pages::{Page, StatusPages};
use load_balancer::LoadBalancer;
use metrics::Metrics;
use news::News;
use ranges::NodeRanges;

/// How long a node's ranges are left to others, where they may be about to give some.
const COURTESY: Duration = Duration::from_secs(10);
/// A write that no snapshot showed for so long was undone before one could: what the snapshot says counts again.
const PATIENCE: Duration = Duration::from_secs(30);
/// When what too many waited to be told is told again.
const RETELL: Duration = Duration::from_secs(1);

/// Options of the controller.
#[derive(Debug, clap::Args)]
pub struct ControllerArgs {
    /// Range that nodes' ranges of pod addresses are cut from, at most one per family; may be repeated.
    #[arg(long, value_name = "CIDR", env = "FAIRWAY_CLUSTER_CIDR")]
    cluster_cidr: Vec<Ranges>,
    /// Who gives nodes ranges of pod addresses.
    #[arg(long, value_enum, env = "FAIRWAY_ALLOCATE_NODE_CIDRS", default_value_t = Allocate::Auto)]
    allocate_node_cidrs: Allocate,
    /// Whether pods get Fairway's network. Without it their nodes need no ranges, and none is given or missed.
    #[arg(long, value_name = "BOOL", env = "FAIRWAY_CNI", default_value_t = true, action = ArgAction::Set)]
    cni: bool,
    /// Prefix length of a node's IPv4 range.
    #[arg(long, value_name = "BITS", default_value_t = 24)]
    node_cidr_mask_size_ipv4: u8,
    /// Prefix length of a node's IPv6 range.
    #[arg(long, value_name = "BITS", default_value_t = 64)]
    node_cidr_mask_size_ipv6: u8,
    /// Whether Services of type LoadBalancer that name no load balancer get addresses; those that name
    /// fairway.network/lb do anyway.
    #[arg(long, value_name = "BOOL", env = "FAIRWAY_DEFAULT_LOAD_BALANCER", default_value_t = true,
        action = ArgAction::Set)]
    default_load_balancer: bool,
    /// Address of the pages /healthz, /readyz and /metrics.
    #[arg(long, value_name = "ADDRESS", env = "FAIRWAY_STATUS_BIND_ADDRESS", default_value = "127.0.0.1:10247")]
    status_bind_address: SocketAddr,
    /// Namespace of the Lease by which one replica leads.
    #[arg(long, value_name = "NAMESPACE", env = "POD_NAMESPACE", default_value = "kube-system")]
    lease_namespace: String,
    /// What this replica is called in the Lease; no two may be called the same.
    #[arg(long, value_name = "NAME", env = "POD_NAME")]
    identity: String,
    /// Seconds after which a leader that fell silent is replaced.
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=3600))]
    lease_duration: u64,
    #[command(flatten)]
    api: ApiArgs,
}

/// Who gives nodes ranges of pod addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Allocate {
    /// The controller, to nodes that have had none for ten seconds.
    Auto,
    /// The controller, at once.
    Always,
    /// Others. Nodes that get none are told.
    Never,
}

/// Runs the controller until cancelled.
pub async fn run(args: ControllerArgs, cancel: CancellationToken) -> Result<()> {
    let controller = Controller {
        pools: pools(&args)?,
        courtesy: if args.allocate_node_cidrs == Allocate::Always { Duration::ZERO } else { COURTESY },
        client: args.api.access().connect().await?,
        is_default_load_balancer: args.default_load_balancer,
        metrics: Arc::new(Metrics::default()),
    };
    let pages = StatusPages::bind(args.status_bind_address).await?;
    let timing = Timing::new(Duration::from_secs(args.lease_duration));
    let candidate = Candidate::new(
        controller.client.clone(),
        &args.lease_namespace,
        manifests::CONTROLLER,
        args.identity.clone(),
        timing,
    );
    tokio::join!(
        pages.serve(pages_of(&controller.metrics), cancel.clone()),
        controller.run(candidate, &cancel), //
    );
    Ok(())
}

/// What nodes' ranges are cut from, empty when others give them; none where nodes need no ranges.
fn pools(args: &ControllerArgs) -> Result<Option<Vec<Pool>>> {
    match (args.cni, args.allocate_node_cidrs) {
        (false, _) => return Ok(None),
        (true, Allocate::Never) => return Ok(Some(Vec::new())),
        (true, Allocate::Auto | Allocate::Always) => {}
    }
    let mut pools: Vec<Pool> = Vec::new();
    for range in args.cluster_cidr.iter().flat_map(|ranges| &ranges.0) {
        let v4 = range.addr().is_ipv4();
        let prefix = if v4 { args.node_cidr_mask_size_ipv4 } else { args.node_cidr_mask_size_ipv6 };
        let is_second = pools.iter().any(|pool| pool.range().addr().is_ipv4() == v4);
        anyhow::ensure!(!is_second, "{range} is a second --cluster-cidr of its family; a node has one range of each");
        pools.push(Pool::new(*range, prefix).context("--cluster-cidr and --node-cidr-mask-size do not go together")?);
    }
    Ok(Some(pools))
}

fn pages_of(metrics: &Arc<Metrics>) -> impl Fn(&str) -> Option<Page> + use<> {
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    move |path| match path {
        // Waiting to take over is what a replica is for.
        "/healthz" | "/livez" | "/readyz" => Some(Page::fine("ok\n")),
        "/metrics" => Some(Page::metrics(&registry)),
        _ => None,
    }
}

struct Controller {
    /// What nodes' ranges are cut from; none where nodes need no ranges.
    pools: Option<Vec<Pool>>,
    courtesy: Duration,
    client: Client,
    is_default_load_balancer: bool,
    metrics: Arc<Metrics>,
}

impl Controller {
    async fn run(&self, mut candidate: Candidate, cancel: &CancellationToken) {
        while cancel.run_until_cancelled(candidate.wait_to_lead()).await.is_some() {
            let term = cancel.child_token();
            self.metrics.leads.set(1);
            let leading = async {
                term.run_until_cancelled(candidate.keep_leading()).await;
                term.cancel();
            };
            tokio::join!(leading, self.lead(&term));
            self.metrics.resign();
            candidate.resign().await;
        }
        // The end may have come while the Lease was being claimed.
        candidate.resign().await;
    }

    /// Acts until `term` ends. Each term begins with a list of its own: what a leader before did is in it.
    async fn lead(&self, term: &CancellationToken) {
        let mut nodes = ClusterWatch::start(self.client.clone(), vec![ObjectKind::Node], term.clone());
        let (tell, rejections) = kubeapi::rejections();
        let snapshots = nodes.snapshots();
        let load_balancer = LoadBalancer {
            client: self.client.clone(),
            is_default: self.is_default_load_balancer,
            metrics: Arc::clone(&self.metrics),
        };
        tokio::join!(
            load_balancer.run(term),
            term.run_until_cancelled(async {
                if let Some(pools) = &self.pools {
                    self.give_ranges(pools, snapshots, &tell).await;
                }
            }),
            term.run_until_cancelled(kubeapi::report_rejections(rejections, &self.client, CONTROLLER)),
            // The agents tell what of a Node cannot be admitted.
            async { while nodes.next_refusal().await.is_some() {} },
        );
        nodes.join().await;
    }

    async fn give_ranges(
        &self,
        pools: &[Pool],
        mut snapshots: watch::Receiver<Option<Cluster>>,
        tell: &RejectionSender,
    ) {
        let mut ranges = NodeRanges::new(pools.to_vec(), self.courtesy);
        let mut news = News::default();
        let mut due: Option<Instant> = None;
        loop {
            tokio::select! {
                changed = snapshots.changed() => if changed.is_err() { return },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
            let Some(cluster) = snapshots.borrow_and_update().clone() else { continue };
            let now = Instant::now();
            let step = ranges.step(&cluster, now);
            let is_told = news.tell(&step.rejected, |news| tell.tell(news));
            for (name, given) in step.give {
                if let Some(node) = cluster.nodes.get(&name) {
                    self.give(&mut ranges, node, given).await;
                }
            }
            self.metrics.waiting.set(ranges.waiting() as i64);
            let retell = (!is_told).then(|| Instant::now() + RETELL);
            due = retell.into_iter().chain(ranges.next(now)).min();
        }
    }

    async fn give(&self, ranges: &mut NodeRanges, node: &Node, given: Vec<IpNet>) {
        let Node { name, uid, .. } = node;
        match kubeapi::give_pod_ranges(self.client.clone(), (name, uid), &given).await {
            Ok(()) => {
                info!(node = %name, ?given, "node got ranges of pod addresses");
                self.metrics.given.inc();
                ranges.wrote(name, given, Instant::now());
            }
            Err(error) => ranges.failed(name, given, &error, Instant::now()),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: ControllerArgs,
    }

    #[test]
    fn ranges_are_given_from_the_clusters_by_us_if_at_all() {
        for (more, given) in [
            (["--allocate-node-cidrs", "auto"], Some(vec!["10.244.0.0/16"])),
            (["--allocate-node-cidrs", "never"], Some(vec![])),
            (["--cni", "false"], None),
        ] {
            let line = ["controller", "--identity", "one", "--cluster-cidr", "10.244.0.0/16"];
            let line = Line::try_parse_from(line.into_iter().chain(more)).unwrap();
            let ranges = pools(&line.args).unwrap();
            let ranges = ranges.map(|pools| pools.iter().map(|pool| pool.range().to_string()).collect::<Vec<_>>());
            let given = given.map(|given| given.into_iter().map(str::to_owned).collect());
            assert_eq!(ranges, given, "{more:?}");
        }
    }
}
