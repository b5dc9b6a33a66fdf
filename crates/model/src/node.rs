//! Nodes.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::Name;

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: Name,
    /// What tells it from one of the same name that is made when it is gone (`metadata.uid`).
    pub uid: Name,
    /// Its InternalIP addresses, at most one per family, the primary first.
    pub addresses: Vec<IpAddr>,
    /// The ranges its pods get addresses from (`spec.podCIDRs`), at most one per family; empty until assigned.
    pub pod_cidrs: Vec<IpNet>,
    /// Whether some of what `spec.podCIDRs` has was refused. The API server lets nobody change it, so that such a node
    /// is not one that waits for ranges even if it has none that can be used.
    pub has_refused_range: bool,
    /// Whether it is on its way out: being deleted, or about to be by the cluster's autoscaler. Load balancers are told.
    pub leaving: bool,
    /// When it was made, as time since 1970.
    pub created: Duration,
    /// Labels, sorted by key.
    pub labels: std::collections::BTreeMap<Name, Name>,
}

impl Node {
    /// The label that names a node's zone.
    const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

    /// Whether it may still be given ranges of pod addresses.
    pub fn waits_for_ranges(&self) -> bool {
        self.pod_cidrs.is_empty() && !self.has_refused_range
    }

    /// Its zone, when it is in one.
    pub fn zone(&self) -> Option<&Name> {
        self.labels.get(Self::ZONE_LABEL).filter(|zone| !zone.as_str().is_empty())
    }
}
