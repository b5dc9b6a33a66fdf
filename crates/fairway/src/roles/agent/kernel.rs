//! Bringing the node's kernel in step with a snapshot; blocking.

use std::error::Error as _;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use compile::plan::{Dispatch, Frontend, Treatment};
use compile::{NodeView, Plan};
use datapath::conntrack::{Conntrack, Flow};
use datapath::route::Rtnetlink;
use datapath::{Datapath, Outcome, Wanted, sysctl};
use ipnet::IpNet;
use model::{Cluster, NamespacedName, Protocol, Rejected, SharedMap};
use tracing::{info, warn};

/// The node's kernel and what was last put into it.
pub(super) struct Kernel {
    view: NodeView,
    datapath: Datapath,
    conntrack: Conntrack,
    plan: Option<Plan>,
    /// The cluster and the plan by which the tracked UDP flows were last put right.
    reconciled: Option<(Cluster, Plan)>,
}

/// What it took to get in step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Synced {
    pub(super) outcome: Outcome,
    /// UDP flows that led to endpoints that are gone.
    pub(super) flows_removed: usize,
    pub(super) took: Duration,
}

impl Kernel {
    /// Connects to the kernel of the calling process's network namespace. Changes nothing yet.
    pub(super) fn open(view: NodeView) -> Result<Self> {
        let (datapath, conntrack) = (Datapath::open()?, Conntrack::open()?);
        Ok(Self { view, datapath, conntrack, plan: None, reconciled: None })
    }

    /// Makes the kernel hold what the cluster asks of this node.
    pub(super) fn sync(&mut self, cluster: &Cluster) -> Result<Synced> {
        let started = Instant::now();
        let plan = match &self.plan {
            Some(plan) => plan.next(cluster),
            None => Plan::of(self.view.clone(), cluster),
        };
        allow_forwarding(cluster, &self.view)?;
        let outcome = self.datapath.apply(&Wanted { ruleset: plan.ruleset(), routes: plan.routes() })?;
        warn_of(&self.plan.as_ref().map_or_else(|| plan.rejected(), |old| plan.rejected_since(old)));
        if self.plan.is_none() {
            keep_translating_late_packets();
            info!(
                operations = outcome.operations,
                routes = outcome.routes_set,
                "the kernel is in step with the cluster"
            );
        }
        self.plan = Some(plan.clone());
        let flows_removed = self.remove_stale_flows(cluster, plan)?;
        Ok(Synced { outcome, flows_removed, took: started.elapsed() })
    }

    /// Makes the kernel forget UDP flows whose endpoint no longer serves where they were sent.
    ///
    /// They are compared with the plan as a whole, not with what changed, so that whatever was missed is caught up.
    /// Looked at only when a Service of UDP changed: listing takes time in proportion to all the node tracks.
    fn remove_stale_flows(&mut self, cluster: &Cluster, plan: Plan) -> Result<usize> {
        if self.reconciled.as_ref().is_some_and(|(old, _)| !udp_changed_between(old, cluster)) {
            return Ok(0);
        }
        let old = self.reconciled.as_ref().map(|(_, plan)| plan);
        let ranges = &self.view.service_ranges;
        let removed = self.conntrack.remove_udp_flows(|flow| is_wanted(flow, &plan, old, ranges))?;
        self.reconciled = Some((cluster.clone(), plan));
        Ok(removed.len())
    }
}

/// Whether a flow leads where the plan sends it; flows that others translate are none of our business.
fn is_wanted(flow: &Flow, plan: &Plan, old: Option<&Plan>, service_ranges: &[IpNet]) -> bool {
    let frontend = Frontend { address: flow.frontend.ip(), protocol: Protocol::Udp, port: flow.frontend.port() };
    match plan.treatment(&frontend) {
        Some(treatment) => sends_to(treatment, flow),
        None => {
            let was_ours = old.is_some_and(|old| old.treatment(&frontend).is_some());
            !was_ours && !service_ranges.iter().any(|range| range.contains(&frontend.address))
        }
    }
}

fn sends_to(treatment: &Treatment, flow: &Flow) -> bool {
    match &treatment.dispatch {
        Dispatch::Refuse | Dispatch::Drop => false,
        Dispatch::Balance(endpoints) => endpoints.contains(&flow.backend),
        Dispatch::Split { inside, outside } => inside.contains(&flow.backend) || outside.contains(&flow.backend),
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

/// The addresses the node's links have now by which others may know it.
pub(super) fn link_addresses() -> Result<Vec<IpAddr>> {
    let mut links = Rtnetlink::open().context("cannot ask for the node's addresses")?;
    let held = links.addresses()?.into_iter().map(|(_, address)| address.addr());
    Ok(held.filter(|address| !address.is_loopback() && !is_link_local(*address)).collect())
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
        warn!(object = rejected.object, field = rejected.field, why = rejected.why, "not in force on this node");
    }
}
