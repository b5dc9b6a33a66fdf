//! The loop that keeps one node's kernel, and what its runtime is told, in step with the cluster.

use std::error::Error as _;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use compile::plan::Checksums;
use jiff::Timestamp;
use kubeapi::{Client, RejectionSender};
use model::{Cluster, Name, Node, Rejected, RejectedReason, Subject};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::health::Health;
use super::kernel::{Kernel, Synced};
use super::pod_network::PodNetwork;
use super::retry::Retry;
use super::servers::Served;
use super::tunnel_check::TunnelEnds;
use crate::peers::PeerList;

/// How often the agent looks whether the node is still as it left it.
const AUDIT_INTERVAL: Duration = Duration::from_secs(2);
/// How long the node's status may take to be written; the kernel must not wait for it longer.
const REPORT_PATIENCE: Duration = Duration::from_secs(5);

/// What keeps one node.
pub(super) struct Keeper {
    pub(super) node: Name,
    pub(super) pod_network: PodNetwork,
    pub(super) client: Client,
    pub(super) snapshots: watch::Receiver<Option<Cluster>>,
    pub(super) health: Arc<Health>,
    pub(super) kernel: KernelThread,
    /// Where users are told what of their objects is not in force.
    pub(super) rejections: RejectionSender,
    pub(super) standing: Standing,
    /// Where others of the agent learn what is in force.
    pub(super) in_force: InForce,
    /// Who must compute the checksums of what the tunnel carries.
    pub(super) checksums: watch::Receiver<Checksums>,
}

/// What the API knows of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing of its network.
    #[default]
    Unreported,
    /// That the network of the node with this uid works.
    Reported(Name),
    /// There is no such node.
    Missing,
}

impl Standing {
    /// What the API knows of the node that has this uid now: of one that is made anew, nothing, even if no snapshot was
    /// without it.
    fn of(self, uid: &Name) -> Self {
        match self {
            Self::Reported(reported) if reported == *uid => Self::Reported(reported),
            Self::Unreported | Self::Reported(_) | Self::Missing => Self::Unreported,
        }
    }
}

/// What others of the agent follow.
pub(super) struct InForce {
    /// The snapshot by which the kernel was set up; none before the first time.
    pub(super) cluster: watch::Sender<Option<Cluster>>,
    /// What the agent serves itself.
    pub(super) served: watch::Sender<Served>,
    /// Between which addresses the tunnel is.
    pub(super) tunnel_ends: watch::Sender<TunnelEnds>,
    /// How other nodes' pods are reached; none before the first time.
    pub(super) peers: watch::Sender<Option<PeerList>>,
}

/// The kernel's connection, which blocks: away only while a blocking thread has it.
pub(super) struct KernelThread(Option<Kernel>);

impl Keeper {
    /// Follows the snapshots until `cancel`; what fails is tried again.
    pub(super) async fn run(mut self, cancel: &CancellationToken) -> Result<()> {
        let mut retry = Retry::default();
        let mut audits = interval(AUDIT_INTERVAL);
        audits.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                changed = self.snapshots.changed() => if changed.is_err() { return Ok(()) },
                () = retry.wait() => {}
                _ = audits.tick() => if self.node_is_as_left().await? { continue },
                Ok(()) = self.checksums.changed() => {
                    let checksums = *self.checksums.borrow_and_update();
                    self.kernel.run(move |kernel| kernel.set_tunnel_checksums(checksums)).await?;
                }
            }
            let Some(cluster) = self.snapshots.borrow_and_update().clone() else { continue };
            let Some(node) = cluster.nodes.get(&self.node).cloned() else {
                self.leave_as_is();
                // What failed is tried again once there is a node.
                retry = Retry::default();
                continue;
            };
            self.standing = std::mem::take(&mut self.standing).of(&node.uid);
            match self.step(cluster, &node).await {
                Ok(synced) if synced.outcome.routes_failed == 0 => retry = Retry::default(),
                // Logged where it failed. The rest is in force, so that pods may come.
                Ok(_) => retry.failed(),
                // A panic took the connection with it; the next process makes a new one.
                Err(error) if self.kernel.is_lost() => return Err(error),
                Err(error) => {
                    self.health.failed(&error);
                    warn!(error = format!("{error:#}"), "not in step with the cluster; trying again");
                    retry.failed();
                }
            }
        }
    }

    /// The cluster has no such node.
    fn leave_as_is(&mut self) {
        self.health.no_node();
        if std::mem::replace(&mut self.standing, Standing::Missing) != Standing::Missing {
            warn!(node = %self.node, "the cluster has no such node; leaving the kernel as it is");
        }
    }

    async fn step(&mut self, cluster: Cluster, node: &Node) -> Result<Synced> {
        self.health.queued(Timestamp::now(), node);
        let (mut synced, flows) = self.sync_kernel(cluster).await?;
        self.rejections.tell_or_drop(std::mem::take(&mut synced.rejected));
        self.health.synced(&synced, Timestamp::now());
        debug!(outcome = ?synced.outcome, reconciled = ?synced.reconciled, took = ?synced.took, "in step");
        self.offer_pods(node).await?;
        flows?;
        Ok(synced)
    }

    /// Tells the node's runtime how to connect pods, and the API that it can, once there are addresses for them.
    async fn offer_pods(&mut self, node: &Node) -> Result<()> {
        if self.pod_network.waits_for_range(node) {
            debug!(node = %self.node, "no range of pod addresses yet");
            return Ok(());
        }
        self.rejections.tell_or_drop(self.pod_network.offer(node).await?);
        self.health.serves_pods();
        // Whoever else connects pods tells so himself.
        if self.pod_network.is_ours() && self.standing == Standing::Unreported {
            let report = kubeapi::report_network_available(self.client.clone(), &self.node, Timestamp::now());
            timeout(REPORT_PATIENCE, report).await.context("the API server does not answer")??;
            self.standing = Standing::Reported(node.uid.clone());
        }
        Ok(())
    }

    async fn sync_kernel(&mut self, cluster: Cluster) -> Result<(Synced, Result<()>)> {
        let wanted = cluster.clone();
        let work = move |kernel: &mut Kernel| {
            let synced = kernel.sync(&cluster);
            (synced, kernel.pending(&cluster), kernel.served(), kernel.tunnel_ends(), kernel.peers())
        };
        let (synced, pending, served, tunnel_ends, peers) = self.kernel.run(work).await?;
        self.health.metrics.pending(pending);
        tell_if_new(&self.in_force.served, served);
        tell_if_new(&self.in_force.tunnel_ends, tunnel_ends);
        tell_if_new(&self.in_force.peers, peers);
        if synced.is_ok() {
            self.in_force.cluster.send_replace(Some(wanted));
        }
        synced
    }

    /// Whether kernel and files are as this agent left them.
    async fn node_is_as_left(&mut self) -> Result<bool> {
        let files_are = self.pod_network.is_as_left().await?;
        Ok(self.kernel_is_as_left().await? && files_are)
    }

    /// Whether the kernel is as this agent left it; who changed it otherwise is told on the node.
    async fn kernel_is_as_left(&mut self) -> Result<bool> {
        let audit = match self.kernel.run(Kernel::audit).await? {
            Ok(audit) => audit,
            Err(error) => {
                warn!(error = format!("{error:#}"), "cannot look which networks this node is on; trying again");
                return Ok(true);
            }
        };
        let drifts = audit.drifts.unwrap_or_else(|error| {
            warn!(%error, cause = ?error.source(), "cannot look whether the kernel is as it was left; trying again");
            Vec::new()
        });
        for drift in &drifts {
            warn!("{drift}; putting it right");
        }
        for mended in &audit.mended {
            warn!("{mended}; put right");
        }
        let drifted = drifts.iter().map(|drift| put_right(&self.node, drift));
        let mended = audit.mended.iter().map(|mended| put_right(&self.node, mended));
        self.rejections.tell_or_drop(drifted.chain(mended).collect());
        Ok(drifts.is_empty() && !audit.has_new_networks)
    }
}

impl KernelThread {
    pub(super) const fn new(kernel: Kernel) -> Self {
        Self(Some(kernel))
    }

    /// Does what blocks where it may.
    async fn run<T: Send + 'static>(&mut self, work: impl FnOnce(&mut Kernel) -> T + Send + 'static) -> Result<T> {
        let mut kernel = self.0.take().context("the kernel's connection was lost")?;
        let work = move || {
            let done = work(&mut kernel);
            (kernel, done)
        };
        let (kernel, done) = tokio::task::spawn_blocking(work).await.context("the kernel's thread ended")?;
        self.0 = Some(kernel);
        Ok(done)
    }

    /// Whether a panic took the connection with it.
    const fn is_lost(&self) -> bool {
        self.0.is_none()
    }
}

fn tell_if_new<T: PartialEq>(to: &watch::Sender<T>, news: T) {
    to.send_if_modified(|known| {
        let is_new = *known != news;
        *known = news;
        is_new
    });
}

/// Says that something of a node's network was taken away and is put back.
fn put_right(node: &Name, change: &impl fmt::Display) -> Rejected {
    let why = format!("{change}; it is put right within seconds, but whoever did it may do it again");
    Rejected { object: Subject::node(node), field: "kernel".into(), why, reason: RejectedReason::KernelChanged }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_node_that_is_made_anew_nothing_is_reported() {
        let reported = || Standing::Reported("first".into());
        assert_eq!(reported().of(&"first".into()), reported());
        assert_eq!(reported().of(&"second".into()), Standing::Unreported);
        assert_eq!(Standing::Missing.of(&"first".into()), Standing::Unreported);
    }
}
