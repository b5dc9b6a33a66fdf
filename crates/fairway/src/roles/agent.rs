//! The agent: keeps one node's kernel in step with the cluster's objects, and tells the node's runtime how to connect
//! pods.
//!
//! It holds no state of its own. What it has put into the kernel stays there when it ends, however it ends; when it
//! starts again it finds that in place and writes nothing.

mod announcer;
mod args;
mod health;
mod health_checks;
mod keeper;
mod kernel;
mod metrics;
mod outages;
mod pages;
mod pod_network;
mod relay;
mod retry;
mod servers;
mod tunnel_check;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use compile::plan::Checksums;
use kubeapi::{Client, ClusterWatch, ObjectKind, RejectionSender};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::last_words;
use super::status_pages::StatusPages;
use crate::diagnostics::NO_KERNEL_FEATURE;
use crate::kernel_features;
use announcer::{Announcer, AnnouncerMetrics, Following};
pub use args::AgentArgs;
use health::Health;
use health_checks::HealthChecks;
use keeper::{InForce, Keeper, KernelThread, Standing};
use kernel::Kernel;
pub use pod_network::{CONFIGURATION, PLUGIN};
use pod_network::{CniFiles, Connector, PodNetwork};
use servers::Served;
use tunnel_check::TunnelEnds;

/// The name under which the agent writes to the API.
const COMPONENT: &str = "fairway-agent";

/// Runs the agent until cancelled.
pub async fn run(args: AgentArgs, cancel: CancellationToken) -> Result<()> {
    require_kernel_features()?;
    let view = args.view()?;
    let (to_checksums, checksums) = watch::channel(view.routing.tunnel_checksums);
    let checks_checksums = args.routing.checks_checksums() && *checksums.borrow() == Checksums::Offloaded;
    let kernel = Kernel::open(view, args.cni_state_dir.clone()).context("cannot program this node's kernel")?;
    let pages = StatusPages::bind(args.healthz_bind_address).await?;
    let health = Arc::new(Health::default());
    let client = args.api.access().connect_observed(Arc::new(health.metrics.requests.clone())).await?;
    let kinds = vec![ObjectKind::Node, ObjectKind::Service, ObjectKind::EndpointSlice];
    let mut cluster = ClusterWatch::start(client.clone(), kinds, cancel.clone());
    let (to_rejections, rejections) = kubeapi::rejections();
    let (to_cluster, in_force) = watch::channel(None);
    let (to_served, served) = watch::channel(Served::default());
    let (to_ends, ends) = watch::channel(TunnelEnds::default());
    let (to_peers, peers) = watch::channel(None);
    let checks = HealthChecks {
        node: args.node_name.clone(),
        served: served.clone(),
        health: Arc::clone(&health),
        rejections: to_rejections.clone(),
    };
    let announcer_metrics = Arc::new(AnnouncerMetrics::default());
    let following = Following { snapshots: cluster.snapshots(), in_force, health: Arc::clone(&health) };
    let announcer = announcer(&args, following, (client.clone(), to_rejections.clone()), &announcer_metrics);
    let connector = if args.cni { Connector::Own } else { Connector::Other };
    let cni_state_dir = args.cni_state_dir.clone();
    let reuse_delay = Duration::from_secs(args.cni_reuse_delay);
    let files = CniFiles::new(args.cni_bin_dir, args.cni_conf_dir, args.cni_state_dir, reuse_delay);
    let keeper = Keeper {
        node: args.node_name.into(),
        pod_network: PodNetwork::new(files, connector),
        client: client.clone(),
        snapshots: cluster.snapshots(),
        health: Arc::clone(&health),
        kernel: KernelThread::new(kernel),
        rejections: to_rejections,
        standing: Standing::default(),
        in_force: InForce { cluster: to_cluster, served: to_served, tunnel_ends: to_ends, peers: to_peers },
        checksums,
    };
    let keeping = async {
        let outcome = keeper.run(&cancel).await;
        cancel.cancel();
        outcome
    };
    let (outcome, (), (), (), (), (), (), _) = tokio::join!(
        keeping,
        run_if(checks_checksums, tunnel_check::run(ends, to_checksums, cancel.clone())),
        run_if(args.localhost_node_ports, relay::serve(served.clone(), cni_state_dir, cancel.clone())),
        run_if(args.announce_l2, announcer.run(&cancel)),
        health_checks::serve(checks, cancel.clone()),
        pages.serve(pages::of_agent(&health, peers, &announcer_metrics), cancel.clone()),
        run_if(args.kube_proxy_ports, pages::serve_for_kube_proxy(health, announcer_metrics, cancel.clone())),
        cancel.run_until_cancelled(kubeapi::report_refusals(&mut cluster, rejections, &client, COMPONENT)),
    );
    cluster.join().await;
    info!("ended; what is in the kernel stays");
    outcome
}

/// Ends an agent that can do nothing on this node with words that `fairway check` finds.
fn require_kernel_features() -> Result<()> {
    let missing = kernel_features::missing();
    if missing.is_empty() {
        return Ok(());
    }
    let problem = format!("{} {}: {}", NO_KERNEL_FEATURE.code, NO_KERNEL_FEATURE.title, missing.join("; "));
    last_words::leave(&problem)?;
    bail!(problem)
}

/// What answers for load balancer addresses on this node.
fn announcer(
    args: &AgentArgs,
    following: Following,
    (client, rejections): (Client, RejectionSender),
    metrics: &Arc<AnnouncerMetrics>,
) -> Announcer {
    Announcer {
        node: args.node_name.as_str().into(),
        namespace: args.lease_namespace.clone(),
        lease_duration: Duration::from_secs(args.announce_lease_duration),
        client,
        following,
        rejections,
        metrics: Arc::clone(metrics),
    }
}

/// Does what is wanted only on some nodes.
async fn run_if(wanted: bool, work: impl Future<Output = ()>) {
    if wanted {
        work.await;
    }
}
