//! Nodes.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::Name;

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: Name,
    /// Its InternalIP addresses, at most one per family, the primary first.
    pub addresses: Vec<IpAddr>,
    /// The ranges its pods get addresses from (`spec.podCIDRs`), at most one per family; empty until assigned.
    pub pod_cidrs: Vec<IpNet>,
    /// Labels, sorted by key.
    pub labels: std::collections::BTreeMap<Name, Name>,
}
