//! What load balancers are told of this node.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU16;

use model::{Cluster, Endpoint, Fitness, IpFamily, Name, Service, ServiceKind};

use super::endpoints::endpoints_of_any_port;
use super::{Dispatch, Treatments};
use crate::FrontendKind;

/// What a load balancer learns that asks this node about a Service (`spec.healthCheckNodePort`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// The port it asks at.
    pub port: NonZeroU16,
    /// How many ready endpoints this node has, for each family of the Service. Those that terminate do not count,
    /// though they may still serve: the load balancer turns to other nodes before they end (KEP-1669).
    pub local_endpoints: BTreeMap<IpFamily, usize>,
}

/// The health check of a Service that has one.
pub(super) fn health_check(service: &Service, cluster: &Cluster, node: &Name) -> Option<HealthCheck> {
    let port = service.health_check_port.filter(|_| !service.delegated)?;
    let ServiceKind::Virtual { cluster_ips, .. } = &service.kind else { return None };
    let families = cluster_ips.iter().copied().map(IpFamily::of);
    let local_endpoints = families.map(|family| (family, count(service, cluster, node, family))).collect();
    Some(HealthCheck { port, local_endpoints })
}

/// An endpoint counts once, however many ports it has.
fn count(service: &Service, cluster: &Cluster, node: &Name, family: IpFamily) -> usize {
    let counts =
        |endpoint: &Endpoint| endpoint.node.as_ref() == Some(node) && service.fitness_of(endpoint) == Fitness::Ready;
    let endpoints = endpoints_of_any_port(service, family, cluster).filter(|(_, endpoint)| counts(endpoint));
    endpoints.map(|(socket, _)| socket.ip()).collect::<BTreeSet<IpAddr>>().len()
}

/// Which of a Service's traffic policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicySide {
    /// For clients inside the cluster.
    Internal,
    /// For clients outside the cluster.
    External,
}

/// The ports, with policy and family, for which this node has no endpoint though a policy wants one here and there are
/// some elsewhere.
pub(super) fn without_local(treatments: &Treatments) -> BTreeSet<(PolicySide, IpFamily, Name)> {
    let lonely = treatments.iter().filter_map(|(frontend, treatment)| {
        let side = match (&treatment.dispatch, treatment.kind) {
            (Dispatch::Drop, FrontendKind::ClusterIp) => PolicySide::Internal,
            (Dispatch::Split { outside, .. }, _) if outside.is_empty() => PolicySide::External,
            _ => return None,
        };
        Some((side, IpFamily::of(frontend.address), treatment.port.clone()))
    });
    lonely.collect()
}
