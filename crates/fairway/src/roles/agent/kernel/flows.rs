//! Which tracked UDP flows may go on.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use compile::Plan;
use compile::host_ports::HostPort;
use compile::plan::{Frontend, Stay};
use datapath::conntrack::{Flow, Stage};
use ipnet::IpNet;
use model::{Cluster, NamespacedName, Protocol, SharedMap};

/// Says which tracked UDP flows may go on.
pub(super) struct Judge<'a> {
    plan: &'a Plan,
    /// The plan before it.
    old: Option<&'a Plan>,
    service_ranges: &'a [IpNet],
    /// Ports of the node that lead to pods; looked at only when there is no plan before it.
    host_ports: &'a [HostPort],
    /// What was asked of the plan already: many flows have few frontends.
    serving: HashMap<Frontend, Option<BTreeMap<SocketAddr, Stay>>>,
}

impl<'a> Judge<'a> {
    /// By what is served now, and before; the ranges tell what was a Service's before there was a plan.
    pub(super) fn new(
        plan: &'a Plan,
        old: Option<&'a Plan>,
        service_ranges: &'a [IpNet],
        host_ports: &'a [HostPort],
    ) -> Self {
        Self { plan, old, service_ranges, host_ports, serving: HashMap::new() }
    }

    /// Whether a flow leads to an endpoint that serves; flows that others translate are none of our business.
    ///
    /// A flow that is not translated at all began before its frontend was there. It counts too, or a client that
    /// began early and keeps its port would be lost for good.
    pub(super) fn is_wanted(&mut self, flow: &Flow) -> bool {
        let frontend = Frontend { address: flow.frontend.ip(), protocol: Protocol::Udp, port: flow.frontend.port() };
        let serving = self.serving.entry(frontend).or_insert_with(|| self.plan.serving(&frontend));
        match serving {
            Some(serving) => may_go_on(flow, serving),
            None if flow.backend == flow.frontend => true,
            None => {
                let was_ours = match self.old {
                    Some(old) => old.treatment(&frontend).is_some(),
                    None => self.is_left_over(flow, &frontend),
                };
                !was_ours && !self.service_ranges.iter().any(|range| range.contains(&frontend.address))
            }
        }
    }
}

impl Judge<'_> {
    /// Whether a Service that was deleted while there was no agent must have left the flow.
    fn is_left_over(&self, flow: &Flow, frontend: &Frontend) -> bool {
        let is_at = |port: &HostPort| {
            (port.protocol, port.port.get()) == (frontend.protocol, frontend.port)
                && port.address.is_none_or(|address| address == frontend.address)
        };
        self.plan.may_be_left_over(frontend, flow.backend.ip()) && !self.host_ports.iter().any(is_at)
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
pub(super) fn udp_changed_between(old: &Cluster, new: &Cluster) -> bool {
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
