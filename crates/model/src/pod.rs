//! Pods, as far as the network cares.

use std::net::IpAddr;

use crate::NamespacedName;

/// A pod that has, or may get, a place in the network.
///
/// What nobody reads is no part of the fact: with the labels of all pods in it, each that changes would make a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Namespace and name.
    pub name: NamespacedName,
    /// Its addresses, at most one per family, the primary first; empty until it has a network.
    pub addresses: Vec<IpAddr>,
    /// Whether all its containers have ended for good.
    pub finished: bool,
}
