//! Bringing the node's kernel in step with a snapshot; blocking.

mod departed;
mod flows;
mod mended;
mod networks;
mod pods;
mod settings;
mod unreachable;
mod upkeep;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use compile::host_ports::{HostPort, PublishedPort};
use compile::plan::{Checksums, Hop, PeerPath, PolicySide, Route};
use compile::{NodeView, Plan};
use datapath::conntrack::Conntrack;
use datapath::{Datapath, DatapathError, Drift, Outcome, Wanted};
use ipnet::IpNet;
use model::{Cluster, IpFamily, Rejected, SharedMap};
use tracing::{info, warn};

use super::outages;
use super::servers::Served;
use super::tunnel_check::TunnelEnds;
use crate::peers::PeerList;
use departed::Departed;
use flows::{Judge, udp_changed_between};
pub(super) use mended::Mended;
use networks::routed_ranges;
pub(super) use networks::{addresses_of, link_networks, tunnel_checksums};
use pods::Pods;
use settings::{Forwarding, keep_half_closed_connections, keep_translating_late_packets};
use upkeep::Upkeep;

/// The node's kernel and what was last put into it.
pub(super) struct Kernel {
    view: NodeView,
    /// The ranges of pods the view had at first.
    pod_ranges: Vec<IpNet>,
    /// Those it has because of nodes that left.
    departed: Departed,
    /// Since when times are counted that say how long ago they left.
    opened: Instant,
    /// Whether the plan in force was made with another view.
    is_view_new: bool,
    /// Where the CNI plugin has written down which ports of the node lead to pods.
    cni_state_dir: PathBuf,
    upkeep: Upkeep,
    pods: Pods,
    forwarding: Forwarding,
    datapath: Datapath,
    conntrack: Conntrack,
    /// When this agent started, as time since 1970; what changed before is not its doing.
    started: Duration,
    committed: Option<Committed>,
    /// What the tracked UDP flows were last put right by.
    reconciled: Option<Committed>,
}

/// A snapshot, and the plan that was made of it.
#[derive(Clone)]
struct Committed {
    cluster: Cluster,
    plan: Plan,
}

/// What it took to get in step.
#[derive(Clone, Debug)]
pub(super) struct Synced {
    pub(super) outcome: Outcome,
    /// What of the objects is not in force on this node and was before, or has come.
    pub(super) rejected: Vec<Rejected>,
    pub(super) took: Duration,
    /// Whether it was the first time.
    pub(super) is_full: bool,
    /// Services that changed.
    pub(super) services_changed: usize,
    /// Services whose slices changed.
    pub(super) slices_changed: usize,
    /// For slices that changed: their family, and when what changed them happened, as time since 1970.
    pub(super) triggers: Vec<(IpFamily, Duration)>,
    /// Service ports that want an endpoint on this node and have none here.
    pub(super) without_local: BTreeMap<(PolicySide, IpFamily), usize>,
    /// What became of tracked UDP flows, when they were looked at.
    pub(super) reconciled: Option<Reconciled>,
}

/// What of a snapshot is not in the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pending {
    /// Services that changed.
    pub(super) services: usize,
    /// Services whose slices changed.
    pub(super) slices: usize,
}

/// What others changed in the kernel.
#[derive(Debug)]
pub(super) struct Audit {
    /// Of what we had put there, unless it cannot be told.
    pub(super) drifts: Result<Vec<Drift>, DatapathError>,
    /// Of what is put right already.
    pub(super) mended: Vec<Mended>,
    /// Whether the node has other addresses than before, or its links carry larger or smaller packets.
    pub(super) has_new_networks: bool,
}

/// What it took to put tracked UDP flows right.
#[derive(Clone, Debug)]
pub(super) struct Reconciled {
    /// The families of those that led to endpoints that are gone.
    pub(super) removed: Vec<IpFamily>,
    pub(super) took: Duration,
}

impl Kernel {
    /// Connects to the kernel of the calling process's network namespace. Changes nothing yet.
    pub(super) fn open(view: NodeView, cni_state_dir: PathBuf) -> Result<Self> {
        let (datapath, conntrack) = (Datapath::open()?, Conntrack::open()?);
        let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Ok(Self {
            pod_ranges: view.pod_ranges.clone(),
            departed: Departed::left(routed_ranges()?, Duration::ZERO),
            opened: Instant::now(),
            view,
            is_view_new: false,
            pods: Pods::new(cni_state_dir.clone()),
            cni_state_dir,
            upkeep: Upkeep::default(),
            forwarding: Forwarding::default(),
            datapath,
            conntrack,
            started,
            committed: None,
            reconciled: None,
        })
    }

    /// Makes the kernel hold what the cluster asks of this node. What is in force then is told even if tracked flows could not
    /// be put right, which is the second result; the next call tries that again.
    pub(super) fn sync(&mut self, cluster: &Cluster) -> Result<(Synced, Result<()>)> {
        let started = Instant::now();
        self.remember_nodes_that_left(cluster);
        let mut plan = match &self.committed {
            Some(committed) if !self.is_view_new => committed.plan.next(cluster),
            _ => Plan::of(self.view.clone(), cluster),
        };
        if self.is_view_new {
            self.forwarding = Forwarding::default();
        }
        self.forwarding.allow(cluster, &self.view, &self.cni_state_dir)?;
        let unreachable = self.datapath.unreachable().clone();
        let outcome = self.apply(&mut plan)?;
        let old = self.committed.as_ref();
        let mut rejected = old.map_or_else(|| plan.rejected(), |old| plan.rejected_since(&old.plan));
        warn_of(&rejected);
        // Logged where it was found.
        rejected.extend(unreachable::news(&self.view.name, cluster, &unreachable, self.datapath.unreachable()));
        rejected.extend(old.into_iter().flat_map(|old| outages::between(&old.cluster, cluster)));
        if old.is_none() {
            keep_translating_late_packets();
            keep_half_closed_connections();
            info!(
                operations = outcome.operations,
                routes = outcome.routes_set,
                "the kernel is in step with the cluster"
            );
        }
        let without_local = plan.without_local().clone();
        let synced = Synced { outcome, rejected, without_local, ..self.changes(cluster) };
        self.committed = Some(Committed { cluster: cluster.clone(), plan });
        self.is_view_new = false;
        let (reconciled, flows) = match self.remove_stale_flows() {
            Ok(reconciled) => (reconciled, Ok(())),
            Err(error) => (None, Err(error.context("cannot put tracked UDP flows right"))),
        };
        Ok((Synced { reconciled, took: started.elapsed(), ..synced }, flows))
    }

    /// Has the next plan answer for the ranges of nodes that are in the cluster no more.
    fn remember_nodes_that_left(&mut self, cluster: &Cluster) {
        let nothing = Cluster::default();
        let old = self.committed.as_ref().map_or(&nothing, |committed| &committed.cluster);
        let departed = self.departed.after(old, cluster, self.opened.elapsed());
        if departed != self.departed {
            self.view.pod_ranges = self.pod_ranges.iter().copied().chain(departed.ranges()).collect();
            self.departed = departed;
            self.is_view_new = true;
        }
    }

    /// Looks whether the kernel is still as [`Kernel::sync`] left it.
    pub(super) fn audit(&mut self) -> Result<Audit> {
        self.upkeep.release_dead_if_due(&self.cni_state_dir, Instant::now());
        let mut mended = self.forwarding.audit(&self.cni_state_dir).unwrap_or_else(|error| {
            warn!(error = format!("{error:#}"), "packets may not be passed on; trying again in a few seconds");
            Vec::new()
        });
        mended.extend(self.pods.put_right());
        let drifts = self.datapath.audit();
        let networks = link_networks()?;
        let has_new_networks = networks != self.view.routing.networks;
        if has_new_networks {
            info!(?networks, "the node's addresses or what its links carry changed");
            self.view.link_addresses = addresses_of(&networks);
            self.view.routing.networks = networks;
            self.is_view_new = true;
        }
        Ok(Audit { drifts, mended, has_new_networks })
    }

    /// How the snapshot differs from the last one.
    fn changes(&self, cluster: &Cluster) -> Synced {
        let nothing = Cluster::default();
        let old = self.committed.as_ref().map_or(&nothing, |committed| &committed.cluster);
        let slices = SharedMap::changes_between(&old.endpoint_slices, &cluster.endpoint_slices);
        let none = SharedMap::new();
        let triggers = slices.iter().flat_map(|change| {
            let changed = SharedMap::changes_between(change.old.unwrap_or(&none), change.new.unwrap_or(&none));
            changed.into_iter().filter_map(|change| Some((change.new?.family, change.new?.triggered?)))
        });
        Synced {
            outcome: Outcome::default(),
            rejected: Vec::new(),
            took: Duration::ZERO,
            is_full: self.committed.is_none(),
            services_changed: SharedMap::changes_between(&old.services, &cluster.services).len(),
            slices_changed: slices.len(),
            triggers: triggers.filter(|(_, triggered)| *triggered >= self.started).collect(),
            without_local: BTreeMap::new(),
            reconciled: None,
        }
    }

    /// How much of a snapshot is not in the kernel.
    pub(super) fn pending(&self, cluster: &Cluster) -> Pending {
        let nothing = Cluster::default();
        let old = self.committed.as_ref().map_or(&nothing, |committed| &committed.cluster);
        Pending {
            services: SharedMap::changes_between(&old.services, &cluster.services).len(),
            slices: SharedMap::changes_between(&old.endpoint_slices, &cluster.endpoint_slices).len(),
        }
    }

    /// What of the plan the agent serves itself; nothing before the first one is in force.
    pub(super) fn served(&self) -> Served {
        let served = |plan: &Plan| Served {
            health_checks: plan.health_checks().clone(),
            health_check_addresses: plan.node_port_addresses().map(<[_]>::to_vec),
            node_ports: plan.node_ports().clone(),
        };
        self.committed.as_ref().map(|committed| served(&committed.plan)).unwrap_or_default()
    }

    /// Between which addresses the tunnel is; none before the first plan is in force.
    pub(super) fn tunnel_ends(&self) -> TunnelEnds {
        let Some(plan) = self.committed.as_ref().map(|committed| &committed.plan) else { return TunnelEnds::default() };
        let others = plan.routes().iter().filter(|route| matches!(route.hop, Hop::Tunnel(_)));
        TunnelEnds {
            own: plan.tunnel().map(|tunnel| tunnel.addresses.clone()).unwrap_or_default(),
            others: others.map(|route| route.destination.network()).collect(),
        }
    }

    /// How other nodes' pods are reached; none before the first plan is in force.
    pub(super) fn peers(&self) -> Option<PeerList> {
        let plan = &self.committed.as_ref()?.plan;
        let state = |peer: &PeerPath| {
            let route = Route { destination: peer.pods?, hop: peer.way.as_ref().ok()?.hop };
            self.datapath.state_of(&route)
        };
        let peers = plan.peers().iter().map(|peer| (peer, state(peer)));
        Some(PeerList::of(self.view.name.as_str(), self.view.routing.mode, peers))
    }

    /// Has the next plan made with other checksums.
    pub(super) fn set_tunnel_checksums(&mut self, checksums: Checksums) {
        self.view.routing.tunnel_checksums = checksums;
        self.is_view_new = true;
    }

    /// Makes the kernel hold the plan, and the ports of the node that lead to pods, which the CNI plugin keeps.
    fn apply(&mut self, plan: &mut Plan) -> Result<Outcome> {
        plan.set_host_ports(&self.recorded_host_ports()?);
        let outcome = self.datapath.apply(&Wanted::from(&*plan))?;
        // Should the table be new, a pod may have come while it was made.
        self.upkeep.catch_up(&self.cni_state_dir, outcome.listed, Instant::now())?;
        Ok(outcome)
    }

    /// What the plugin's maps are to begin with, should they have to be made. That takes a listing: it is no use to read
    /// every pod's record for a change without one, and should one come unawares, the maps begin empty.
    fn recorded_host_ports(&self) -> Result<Vec<PublishedPort>> {
        if self.datapath.remembers() {
            return Ok(Vec::new());
        }
        self.read_host_ports()
    }

    fn read_host_ports(&self) -> Result<Vec<PublishedPort>> {
        let recorded = cni::recorded_host_ports(&self.cni_state_dir);
        recorded.context("cannot read which ports of the node lead to pods")
    }

    /// Makes the kernel forget UDP flows whose endpoint no longer serves where they were sent.
    ///
    /// They are compared with the plan as a whole, not with what changed, so that whatever was missed is caught up.
    /// Looked at only when a Service of UDP changed: listing takes time in proportion to the flows of UDP.
    fn remove_stale_flows(&mut self) -> Result<Option<Reconciled>> {
        let Some(committed) = &self.committed else { return Ok(None) };
        let old = self.reconciled.as_ref();
        if old.is_some_and(|old| !udp_changed_between(&old.cluster, &committed.cluster)) {
            // They are right by this one as well, and the next difference is the smaller.
            self.reconciled = Some(committed.clone());
            return Ok(None);
        }
        let started = Instant::now();
        let published = if old.is_none() { self.read_host_ports()? } else { Vec::new() };
        let host_ports: Vec<HostPort> = published.iter().map(|published| published.port).collect();
        let mut judge = Judge::new(&committed.plan, old.map(|old| &old.plan), &self.view.service_ranges, &host_ports);
        let removed = self.conntrack.remove_udp_flows(|flow| judge.is_wanted(flow))?;
        let removed = removed.iter().map(|flow| IpFamily::of(flow.frontend.ip())).collect();
        self.reconciled = Some(committed.clone());
        Ok(Some(Reconciled { removed, took: started.elapsed() }))
    }
}

fn warn_of(rejected: &[Rejected]) {
    for rejected in rejected {
        warn!(object = %rejected.object, field = rejected.field, why = rejected.why, "not in force on this node");
    }
}
