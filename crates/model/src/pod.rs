//! Pods, as far as the network cares.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::{Name, NamespacedName};

/// A pod that has, or may get, a place in the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Namespace and name.
    pub name: NamespacedName,
    /// The node it is bound to, once it is.
    pub node: Option<Name>,
    /// Its addresses, at most one per family, the primary first; empty until it has a network.
    pub addresses: Vec<IpAddr>,
    /// Whether it uses its node's network instead of one of its own.
    pub host_network: bool,
    /// Whether all its containers have ended for good.
    pub finished: bool,
    /// Labels, sorted by key.
    pub labels: BTreeMap<Name, Name>,
}
