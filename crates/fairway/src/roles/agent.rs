//! The agent: keeps one node's kernel in step with the cluster's objects, and tells the node's runtime how to connect
//! pods.
//!
//! It holds no state of its own. What it has put into the kernel stays there when it ends, however it ends; when it
//! starts again it finds that in place and writes nothing.

mod announcer;
mod cni_files;
mod health;
mod health_checks;
mod kernel;
mod metrics;
mod outages;
mod pages;
mod relay;
mod routing_args;
mod servers;
mod tunnel_check;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ArgAction;
use compile::plan::Checksums;
use compile::{NodePortAddresses, NodeView, RoutingMode};
use datapath::Drift;
use jiff::Timestamp;
use kubeapi::{Client, ClusterWatch, ObjectKind, RejectionSender};
use model::{Cluster, Name, Node, Rejected, RejectedReason, Subject};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::api_args::ApiArgs;
use super::last_words;
use super::ranges::Ranges;
use super::status_pages::StatusPages;
use crate::diagnostics::NO_KERNEL_FEATURE;
use crate::kernel_features;
use announcer::{Announcer, AnnouncerMetrics};
use cni_files::CniFiles;
pub use cni_files::{CONFIGURATION, PLUGIN};
use health::Health;
use health_checks::HealthChecks;
use kernel::{Kernel, Synced};
use routing_args::RoutingArgs;
use servers::Served;
use tunnel_check::TunnelEnds;

/// The name under which the agent writes to the API.
const COMPONENT: &str = "fairway-agent";
/// The pause before the first new try after a failure, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// How often the agent looks whether the kernel is still as it left it.
const AUDIT_INTERVAL: Duration = Duration::from_secs(2);
/// How long the node's status may take to be written; the kernel must not wait for it longer.
const REPORT_PATIENCE: Duration = Duration::from_secs(5);

/// Options of the agent.
#[derive(Debug, clap::Args)]
pub struct AgentArgs {
    /// Name of the Node object this agent is for.
    #[arg(long, value_name = "NAME", env = "NODE_NAME")]
    node_name: String,
    /// Range of pod addresses beyond those the Node objects carry; may be repeated. Traffic that leaves the cluster is
    /// masqueraded, traffic to these ranges is not.
    #[arg(long, value_name = "CIDR", env = "FAIRWAY_CLUSTER_CIDR")]
    cluster_cidr: Vec<Ranges>,
    /// Range of Service addresses; may be repeated. Lets the agent recognise connections to Services deleted while it
    /// was away.
    #[arg(long, value_name = "CIDR", env = "FAIRWAY_SERVICE_CIDR")]
    service_cidr: Vec<Ranges>,
    /// Whether new pods get Fairway's network. Without it another plugin connects them, and the agent carries Services alone.
    #[arg(long, value_name = "BOOL", env = "FAIRWAY_CNI", default_value_t = true, action = ArgAction::Set)]
    cni: bool,
    /// Directory of CNI plugins, where the agent installs this program.
    #[arg(long, value_name = "DIR", env = "FAIRWAY_CNI_BIN_DIR", default_value = "/opt/cni/bin")]
    cni_bin_dir: PathBuf,
    /// Directory of CNI configurations, where the agent writes its own once the kernel is ready for pods.
    #[arg(long, value_name = "DIR", env = "FAIRWAY_CNI_CONF_DIR", default_value = "/etc/cni/net.d")]
    cni_conf_dir: PathBuf,
    /// Directory in which the CNI plugin keeps what it remembers between calls.
    #[arg(long, value_name = "DIR", env = "FAIRWAY_CNI_STATE_DIR", default_value = cni::STATE_DIR)]
    cni_state_dir: PathBuf,
    /// Address of the pages /healthz, /readyz and /metrics.
    #[arg(long, value_name = "ADDRESS", env = "FAIRWAY_HEALTHZ_BIND_ADDRESS", default_value = "127.0.0.1:10246")]
    healthz_bind_address: SocketAddr,
    /// Which of the node's addresses serve node ports: all (those its links have), primary (those its Node
    /// object tells), or those in the ranges named.
    #[arg(long, value_name = "all|primary|CIDR,...", env = "FAIRWAY_NODE_PORT_ADDRESSES", default_value = "all",
        value_parser = parse_node_port_addresses)]
    node_port_addresses: NodePortAddresses,
    /// Whether node ports are served at 127.0.0.1 and ::1 too, by the agent itself.
    #[arg(long, value_name = "BOOL", env = "FAIRWAY_LOCALHOST_NODE_PORTS", default_value_t = true, action = ArgAction::Set)]
    localhost_node_ports: bool,
    /// Whether what asks kube-proxy is answered where kube-proxy does not run: load balancers at port 10256 of every
    /// address, programs of the node at port 10249 of 127.0.0.1.
    #[arg(long, value_name = "BOOL", env = "FAIRWAY_KUBE_PROXY_PORTS", default_value_t = true, action = ArgAction::Set)]
    kube_proxy_ports: bool,
    /// Whether this node answers for load balancer addresses on the networks its addresses are on.
    #[arg(long, value_name = "BOOL", env = "FAIRWAY_ANNOUNCE_L2", default_value_t = true, action = ArgAction::Set)]
    announce_l2: bool,
    /// Namespace of the Leases by which nodes that answer for load balancer addresses are known.
    #[arg(long, value_name = "NAMESPACE", env = "POD_NAMESPACE", default_value = "kube-system")]
    lease_namespace: String,
    /// Seconds after which a node that fell silent is replaced as the one that answers.
    #[arg(long, value_name = "SECONDS", default_value_t = 4, value_parser = clap::value_parser!(u64).range(2..=60))]
    announce_lease_duration: u64,
    #[command(flatten)]
    routing: RoutingArgs,
    #[command(flatten)]
    api: ApiArgs,
}

fn parse_node_port_addresses(text: &str) -> Result<NodePortAddresses, ipnet::AddrParseError> {
    match text {
        "all" => Ok(NodePortAddresses::All),
        "primary" => Ok(NodePortAddresses::Primary),
        ranges => ranges.split(',').map(str::parse).collect::<Result<_, _>>().map(NodePortAddresses::Within),
    }
}

/// Runs the agent until cancelled.
pub async fn run(args: AgentArgs, cancel: CancellationToken) -> Result<()> {
    require_kernel_features()?;
    let view = view(&args)?;
    let (to_checksums, checksums) = watch::channel(view.routing.tunnel_checksums);
    let checks_checksums = args.routing.checks_checksums() && *checksums.borrow() == Checksums::Offloaded;
    let kernel = Kernel::open(view, args.cni_state_dir.clone()).context("cannot program this node's kernel")?;
    let pages = StatusPages::bind(args.healthz_bind_address).await?;
    let client = args.api.access().connect().await?;
    let kinds = vec![ObjectKind::Node, ObjectKind::Service, ObjectKind::EndpointSlice];
    let mut cluster = ClusterWatch::start(client.clone(), kinds, cancel.clone());
    let health = Arc::new(Health::default());
    let (to_rejections, rejections) = kubeapi::rejections();
    let (to_served, served) = watch::channel(Served::default());
    let (to_ends, ends) = watch::channel(TunnelEnds::default());
    let checks = HealthChecks {
        node: args.node_name.clone(),
        served: served.clone(),
        health: Arc::clone(&health),
        rejections: to_rejections.clone(),
    };
    let announcer_metrics = Arc::new(AnnouncerMetrics::default());
    let announcer = announcer(&args, &cluster, (client.clone(), to_rejections.clone()), &announcer_metrics);
    let agent = Agent {
        node: args.node_name,
        cni: CniFiles::new(args.cni_bin_dir, args.cni_conf_dir, args.cni_state_dir),
        connects_pods: args.cni,
        preferred: Vec::new(),
        client: client.clone(),
        snapshots: cluster.snapshots(),
        health: Arc::clone(&health),
        kernel: Some(kernel),
        rejections: to_rejections,
        is_reported: false,
        to_served,
        to_ends,
        checksums,
    };
    let keeping = async {
        let outcome = agent.run(&cancel).await;
        cancel.cancel();
        outcome
    };
    let (outcome, (), (), (), (), (), (), _) = tokio::join!(
        keeping,
        run_if(checks_checksums, tunnel_check::run(ends, to_checksums, cancel.clone())),
        run_if(args.localhost_node_ports, relay::serve(served.clone(), cancel.clone())),
        run_if(args.announce_l2, announcer.run(&cancel)),
        health_checks::serve(checks, cancel.clone()),
        pages.serve(pages::of_agent(&health, &announcer_metrics), cancel.clone()),
        run_if(args.kube_proxy_ports, pages::serve_for_kube_proxy(Arc::clone(&health), cancel.clone())),
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

/// What plans for this node start from: what the agent was told, and how the node is now.
fn view(args: &AgentArgs) -> Result<NodeView> {
    let flat = |given: &[Ranges]| given.iter().flat_map(|ranges| ranges.0.iter().copied()).collect();
    let networks = kernel::link_networks()?;
    let mut routing = args.routing.routing(networks.clone(), kernel::tunnel_checksums()?);
    if !args.cni {
        // The pods of another plugin have its ways between nodes.
        routing.mode = RoutingMode::Native;
    }
    Ok(NodeView {
        name: args.node_name.as_str().into(),
        pod_ranges: flat(&args.cluster_cidr),
        service_ranges: flat(&args.service_cidr),
        link_addresses: kernel::addresses_of(&networks),
        node_port_addresses: args.node_port_addresses.clone(),
        routing,
    })
}

/// What answers for load balancer addresses on this node.
fn announcer(
    args: &AgentArgs,
    cluster: &ClusterWatch,
    (client, rejections): (Client, RejectionSender),
    metrics: &Arc<AnnouncerMetrics>,
) -> Announcer {
    Announcer {
        node: args.node_name.as_str().into(),
        namespace: args.lease_namespace.clone(),
        lease_duration: Duration::from_secs(args.announce_lease_duration),
        client,
        snapshots: cluster.snapshots(),
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

/// One node's agent.
struct Agent {
    node: String,
    cni: CniFiles,
    /// Whether new pods are to get Fairway's network.
    connects_pods: bool,
    /// Configurations of others that the runtime prefers, as they were last told.
    preferred: Vec<String>,
    client: Client,
    snapshots: watch::Receiver<Option<Cluster>>,
    health: Arc<Health>,
    /// Away only while a blocking thread has it.
    kernel: Option<Kernel>,
    /// Where users are told what of their objects is not in force.
    rejections: RejectionSender,
    /// Whether the API knows that the node's network works.
    is_reported: bool,
    /// Where what the agent serves itself is told.
    to_served: watch::Sender<Served>,
    /// Where it is told between which addresses the tunnel is.
    to_ends: watch::Sender<TunnelEnds>,
    /// Who must compute the checksums of what it carries.
    checksums: watch::Receiver<Checksums>,
}

impl Agent {
    /// Follows the snapshots until `cancel`; what fails is tried again.
    async fn run(mut self, cancel: &CancellationToken) -> Result<()> {
        let mut retry = Retry::default();
        let mut audits = interval(AUDIT_INTERVAL);
        audits.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                changed = self.snapshots.changed() => if changed.is_err() { return Ok(()) },
                () = retry.wait() => {}
                _ = audits.tick() => if self.is_as_left().await? { continue },
                Ok(()) = self.checksums.changed() => {
                    let checksums = *self.checksums.borrow_and_update();
                    self.with_kernel(move |kernel| kernel.set_tunnel_checksums(checksums)).await?;
                }
            }
            let Some(cluster) = self.snapshots.borrow_and_update().clone() else { continue };
            let Some(node) = cluster.nodes.get(self.node.as_str()).cloned() else {
                self.health.no_node();
                warn!(node = self.node, "the cluster has no such node; leaving the kernel as it is");
                continue;
            };
            match self.step(cluster, &node).await {
                Ok(synced) if synced.outcome.routes_failed == 0 => retry = Retry::default(),
                // Logged where it failed. The rest is in force, so that pods may come.
                Ok(_) => retry.failed(),
                // A panic took the connection with it; the next process makes a new one.
                Err(error) if self.kernel.is_none() => return Err(error),
                Err(error) => {
                    self.health.failed(format!("{error:#}"));
                    warn!(error = format!("{error:#}"), "not in step with the cluster; trying again");
                    retry.failed();
                }
            }
        }
    }

    async fn step(&mut self, cluster: Cluster, node: &Node) -> Result<Synced> {
        self.health.queued(Timestamp::now(), node);
        let mut synced = self.sync_kernel(cluster).await?;
        self.rejections.tell(std::mem::take(&mut synced.rejected));
        self.health.synced(&synced, Timestamp::now());
        debug!(outcome = ?synced.outcome, reconciled = ?synced.reconciled, took = ?synced.took, "in step");
        if node.pod_cidrs.is_empty() {
            debug!(node = self.node, "no range of pod addresses yet");
            return Ok(synced);
        }
        if self.connects_pods {
            self.install_plugin(node).await?;
        } else {
            self.cni.withdraw().context("cannot leave new pods to another plugin")?;
        }
        self.health.serves_pods();
        if !self.is_reported {
            let report = kubeapi::report_network_available(self.client.clone(), &self.node, Timestamp::now());
            timeout(REPORT_PATIENCE, report).await.context("the API server does not answer")??;
            self.is_reported = true;
        }
        Ok(synced)
    }

    async fn install_plugin(&mut self, node: &Node) -> Result<()> {
        let (mut cni, ranges) = (self.cni.clone(), node.pod_cidrs.clone());
        let work = move || -> Result<_> {
            cni.install(&ranges)?;
            let preferred = cni.preferred_to_ours().context("cannot read the CNI configurations")?;
            Ok((cni, preferred))
        };
        let (cni, preferred) = tokio::task::spawn_blocking(work).await??;
        self.cni = cni;
        if preferred != self.preferred {
            self.rejections.tell(preferred.iter().map(|name| in_the_way(&node.name, name)).collect());
            self.preferred = preferred;
        }
        Ok(())
    }

    async fn sync_kernel(&mut self, cluster: Cluster) -> Result<Synced> {
        let synced = self.with_kernel(move |kernel| kernel.sync(&cluster)).await?;
        if let Some(kernel) = &self.kernel {
            self.tell_served(kernel);
        }
        synced
    }

    /// Whether the kernel is as this agent left it; who changed it otherwise is told on the node.
    async fn is_as_left(&mut self) -> Result<bool> {
        let audit = match self.with_kernel(Kernel::audit).await? {
            Ok(audit) => audit,
            Err(error) => {
                warn!(error = format!("{error:#}"), "cannot look whether the kernel is as it was left");
                return Ok(true);
            }
        };
        for drift in &audit.drifts {
            warn!("{drift}; putting it right");
        }
        let node = Name::from(self.node.as_str());
        self.rejections.tell(audit.drifts.iter().map(|drift| put_right(&node, drift)).collect());
        Ok(audit.drifts.is_empty() && !audit.has_new_networks)
    }

    async fn with_kernel<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Kernel) -> T + Send + 'static,
    ) -> Result<T> {
        let mut kernel = self.kernel.take().context("the kernel's connection was lost")?;
        let work = move || {
            let done = work(&mut kernel);
            (kernel, done)
        };
        let (kernel, done) = tokio::task::spawn_blocking(work).await.context("the kernel's thread ended")?;
        self.kernel = Some(kernel);
        Ok(done)
    }

    fn tell_served(&self, kernel: &Kernel) {
        tell_if_new(&self.to_served, kernel.served());
        tell_if_new(&self.to_ends, kernel.tunnel_ends());
    }
}

fn tell_if_new<T: PartialEq>(to: &watch::Sender<T>, news: T) {
    to.send_if_modified(|known| {
        let is_new = *known != news;
        *known = news;
        is_new
    });
}

/// Says that new pods of a node get another network.
fn in_the_way(node: &Name, configuration: &str) -> Rejected {
    warn!(configuration, "the runtime prefers another CNI configuration: new pods get no network of Fairway's");
    let why = format!("the runtime prefers {configuration} to Fairway's: new pods get its network; remove it");
    Rejected { object: Subject::node(node), field: "CNI configuration".into(), why, reason: RejectedReason::Refused }
}

/// Says that something of a node's network was taken away and is put back.
fn put_right(node: &Name, drift: &Drift) -> Rejected {
    let why = format!("{drift}; it is put right within seconds, but whoever did it may do it again");
    Rejected { object: Subject::node(node), field: "kernel".into(), why, reason: RejectedReason::KernelChanged }
}

/// When to try again.
#[derive(Debug, Default)]
struct Retry {
    pause: Duration,
    due: Option<Instant>,
}

impl Retry {
    fn failed(&mut self) {
        self.pause = (self.pause * 2).clamp(RETRY.0, RETRY.1);
        self.due = Some(Instant::now() + self.pause);
    }

    /// Ends when it is time; never when nothing failed.
    async fn wait(&self) {
        match self.due {
            Some(due) => sleep_until(due).await,
            None => std::future::pending().await,
        }
    }
}
