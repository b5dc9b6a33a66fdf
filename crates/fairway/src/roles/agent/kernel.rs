//! Bringing the node's kernel in step with a snapshot; blocking.

use std::collections::{BTreeMap, HashMap};
use std::error::Error as _;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use compile::host_ports::HostPort;
use compile::plan::{Checksums, Frontend, Hop, LinkNetwork, PolicySide, Stay};
use compile::{NodeView, Plan};
use datapath::conntrack::{Conntrack, Flow, Stage};
use datapath::route::Rtnetlink;
use datapath::{Datapath, Drift, Outcome, Wanted, sysctl};
use ipnet::IpNet;
use model::{Cluster, IpFamily, NamespacedName, Protocol, Rejected, SharedMap};
use tracing::{info, warn};

use super::outages;
use super::servers::Served;
use super::tunnel_check::TunnelEnds;

/// The node's kernel and what was last put into it.
pub(super) struct Kernel {
    view: NodeView,
    /// Whether the plan in force was made with another view.
    is_view_new: bool,
    /// Where the CNI plugin has written down which ports of the node lead to pods.
    cni_state_dir: PathBuf,
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

/// What others changed in the kernel.
#[derive(Clone, Debug)]
pub(super) struct Audit {
    /// Of what we had put there.
    pub(super) drifts: Vec<Drift>,
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
            view,
            is_view_new: false,
            cni_state_dir,
            datapath,
            conntrack,
            started,
            committed: None,
            reconciled: None,
        })
    }

    /// Makes the kernel hold what the cluster asks of this node.
    pub(super) fn sync(&mut self, cluster: &Cluster) -> Result<Synced> {
        let started = Instant::now();
        let mut plan = match &self.committed {
            Some(committed) if !self.is_view_new => committed.plan.next(cluster),
            _ => Plan::of(self.view.clone(), cluster),
        };
        allow_forwarding(cluster, &self.view)?;
        let outcome = self.apply(&mut plan)?;
        let old = self.committed.as_ref();
        let mut rejected = old.map_or_else(|| plan.rejected(), |old| plan.rejected_since(&old.plan));
        warn_of(&rejected);
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
        let reconciled = self.remove_stale_flows()?;
        Ok(Synced { reconciled, took: started.elapsed(), ..synced })
    }

    /// Looks whether the kernel is still as [`Kernel::sync`] left it.
    pub(super) fn audit(&mut self) -> Result<Audit> {
        let drifts = self.datapath.audit()?;
        let networks = link_networks()?;
        let has_new_networks = networks != self.view.routing.networks;
        if has_new_networks {
            info!(?networks, "the node's addresses or what its links carry changed");
            self.view.link_addresses = addresses_of(&networks);
            self.view.routing.networks = networks;
            self.is_view_new = true;
        }
        Ok(Audit { drifts, has_new_networks })
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

    /// What of the plan the agent serves itself; nothing before the first one is in force.
    pub(super) fn served(&self) -> Served {
        let served =
            |plan: &Plan| Served { health_checks: plan.health_checks().clone(), node_ports: plan.node_ports().clone() };
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

    /// Has the next plan made with other checksums.
    pub(super) fn set_tunnel_checksums(&mut self, checksums: Checksums) {
        self.view.routing.tunnel_checksums = checksums;
        self.is_view_new = true;
    }

    /// Makes the kernel hold the plan, and the ports of the node that lead to pods, which the CNI plugin keeps.
    fn apply(&mut self, plan: &mut Plan) -> Result<Outcome> {
        plan.set_host_ports(&self.recorded_host_ports()?);
        let outcome = self.datapath.apply(&Wanted::from(&*plan))?;
        if outcome.listed {
            let released = cni::release_dead(&self.cni_state_dir).context("cannot release what dead pods had")?;
            if !released.is_empty() {
                info!(?released, "addresses of pods that went without a word are free again");
            }
            // The table may be new, and a pod may have come while it was made.
            let restored = cni::restore_host_ports(&self.cni_state_dir);
            restored.context("cannot restore the ports of the node that lead to pods")?;
        }
        Ok(outcome)
    }

    /// What the plugin's maps are to begin with, should they have to be made. That takes a listing: it is no use to read
    /// every pod's record for a change without one, and should one come unawares, the maps begin empty.
    fn recorded_host_ports(&self) -> Result<Vec<HostPort>> {
        if self.datapath.remembers() {
            return Ok(Vec::new());
        }
        let recorded = cni::recorded_host_ports(&self.cni_state_dir);
        recorded.context("cannot read which ports of the node lead to pods")
    }

    /// Makes the kernel forget UDP flows whose endpoint no longer serves where they were sent.
    ///
    /// They are compared with the plan as a whole, not with what changed, so that whatever was missed is caught up.
    /// Looked at only when a Service of UDP changed: listing takes time in proportion to all the node tracks.
    fn remove_stale_flows(&mut self) -> Result<Option<Reconciled>> {
        let Some(committed) = &self.committed else { return Ok(None) };
        let old = self.reconciled.as_ref();
        if old.is_some_and(|old| !udp_changed_between(&old.cluster, &committed.cluster)) {
            return Ok(None);
        }
        let started = Instant::now();
        let mut judge = Judge {
            plan: &committed.plan,
            old: old.map(|old| &old.plan),
            service_ranges: &self.view.service_ranges,
            serving: HashMap::new(),
        };
        let removed = self.conntrack.remove_udp_flows(|flow| judge.is_wanted(flow))?;
        let removed = removed.iter().map(|flow| IpFamily::of(flow.frontend.ip())).collect();
        self.reconciled = Some(committed.clone());
        Ok(Some(Reconciled { removed, took: started.elapsed() }))
    }
}

/// Says which tracked UDP flows may go on.
struct Judge<'a> {
    plan: &'a Plan,
    /// The plan before it.
    old: Option<&'a Plan>,
    service_ranges: &'a [IpNet],
    /// What was asked of the plan already: many flows have few frontends.
    serving: HashMap<Frontend, Option<BTreeMap<SocketAddr, Stay>>>,
}

impl Judge<'_> {
    /// Whether a flow leads to an endpoint that serves; flows that others translate are none of our business.
    ///
    /// A flow that is not translated at all began before its frontend was there. It counts too, or a client that
    /// began early and keeps its port would be lost for good.
    fn is_wanted(&mut self, flow: &Flow) -> bool {
        let frontend = Frontend { address: flow.frontend.ip(), protocol: Protocol::Udp, port: flow.frontend.port() };
        let serving = self.serving.entry(frontend).or_insert_with(|| self.plan.serving(&frontend));
        match serving {
            Some(serving) => may_go_on(flow, serving),
            None if flow.backend == flow.frontend => true,
            None => {
                let was_ours = self.old.is_some_and(|old| old.treatment(&frontend).is_some());
                !was_ours && !self.service_ranges.iter().any(|range| range.contains(&frontend.address))
            }
        }
    }
}

/// Whether a flow may stay with its endpoint.
///
/// An endpoint that leaves keeps its conversations. But what was asked and answered is over, as far as can be told, and
/// a client that comes by the same port again, as resolvers do by chance, would meet an endpoint that has left by then.
fn may_go_on(flow: &Flow, serving: &BTreeMap<SocketAddr, Stay>) -> bool {
    match serving.get(&flow.backend) {
        None => false,
        Some(Stay::Ready) => true,
        Some(Stay::Leaving) => flow.stage != Stage::Answered || !serving.values().any(|stay| *stay == Stay::Ready),
    }
}

/// Whether any Service with a UDP port, or the endpoints of one, differ.
fn udp_changed_between(old: &Cluster, new: &Cluster) -> bool {
    let uses_udp = |key: &NamespacedName| {
        [old, new].iter().any(|cluster| {
            let ports = cluster.services.get(key).into_iter().flat_map(|service| &service.ports);
            ports.into_iter().any(|port| port.protocol == Protocol::Udp)
        })
    };
    let services = SharedMap::changes_between(&old.services, &new.services);
    let slices = SharedMap::changes_between(&old.endpoint_slices, &new.endpoint_slices);
    services.iter().map(|change| change.key).chain(slices.iter().map(|change| change.key)).any(uses_udp)
}

/// Lets the node pass on packets of the families its pods have.
fn allow_forwarding(cluster: &Cluster, view: &NodeView) -> Result<()> {
    let Some(node) = cluster.nodes.get(&view.name) else { return Ok(()) };
    let advice = "the agent must be allowed to write it, or the node's administrator must set it";
    if node.pod_cidrs.iter().any(|range| range.addr().is_ipv4()) {
        sysctl::write("ipv4/ip_forward", "1").context(advice)?;
    }
    if node.pod_cidrs.iter().any(|range| range.addr().is_ipv6()) {
        sysctl::write("ipv6/conf/all/forwarding", "1").context(advice)?;
    }
    Ok(())
}

/// Has connection tracking stand by a connection whose packets come late or twice. Packets it disowns are not
/// translated back: a client then hears from an endpoint it does not know, resets it, and the connection is lost.
fn keep_translating_late_packets() {
    if let Err(error) = sysctl::write("netfilter/nf_conntrack_tcp_be_liberal", "1") {
        warn!(%error, cause = ?error.source(), "connections through Services may break when packets come late");
    }
}

/// How long a connection is tracked that one side has closed and the other has not: kube-proxy's hour, where the kernel
/// gives a minute. A client that takes its time to read the rest would otherwise be cut off from its endpoint.
const CLOSE_WAIT_TIMEOUT: Duration = Duration::from_secs(3600);

/// Has connection tracking wait for the second half of connections that are half closed.
fn keep_half_closed_connections() {
    let seconds = CLOSE_WAIT_TIMEOUT.as_secs().to_string();
    if let Err(error) = sysctl::write("netfilter/nf_conntrack_tcp_timeout_close_wait", &seconds) {
        warn!(%error, cause = ?error.source(), "connections through Services end a minute after one side closed them");
    }
}

/// The networks the node's links are on now, with the addresses by which others may know the node there. Links of ours,
/// such as the tunnel, are left out: they come and go with the plan.
pub(super) fn link_networks() -> Result<Vec<LinkNetwork>> {
    let mut kernel = Rtnetlink::open().context("cannot ask for the node's addresses")?;
    let links = kernel.links()?;
    let network = |(index, address): (_, IpNet)| {
        let link = links.iter().find(|link| link.index == index && !link.is_ours())?;
        let is_known = !address.addr().is_loopback() && !is_link_local(address.addr());
        is_known.then_some(LinkNetwork { address, mtu: link.mtu })
    };
    Ok(kernel.addresses()?.into_iter().filter_map(network).collect())
}

/// Who computes the checksums of what the tunnel carries that an earlier agent left; nothing when there is none.
pub(super) fn tunnel_checksums() -> Result<Option<Checksums>> {
    let mut kernel = Rtnetlink::open().context("cannot ask for the tunnel")?;
    let tunnel = datapath::read_tunnel(&mut kernel).context("cannot read how the tunnel is set up")?;
    Ok(tunnel.map(|tunnel| tunnel.checksums))
}

/// The addresses by which others may know a node that is on these networks.
pub(super) fn addresses_of(networks: &[LinkNetwork]) -> Vec<IpAddr> {
    networks.iter().map(|network| network.address.addr()).collect()
}

/// Whether an address means something on its own link only; every pod's link has one.
const fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

fn warn_of(rejected: &[Rejected]) {
    for rejected in rejected {
        warn!(object = %rejected.object, field = rejected.field, why = rejected.why, "not in force on this node");
    }
}
