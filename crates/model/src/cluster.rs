//! The snapshot of a whole cluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{EndpointSlice, Name, NamespacedName, Node, Pod, Service};

/// Everything Fairway knows of a cluster at one moment.
///
/// Facts are shared: cloning a snapshot to change one object copies the maps' pointers, not the objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Nodes by name.
    pub nodes: BTreeMap<Name, Arc<Node>>,
    /// Pods by key. Only roles that watch pods fill this.
    pub pods: BTreeMap<NamespacedName, Arc<Pod>>,
    /// Services by key.
    pub services: BTreeMap<NamespacedName, Arc<Service>>,
    /// EndpointSlices by their Service, then by their own name.
    pub endpoint_slices: BTreeMap<NamespacedName, BTreeMap<Name, Arc<EndpointSlice>>>,
    /// Names of the namespaces that exist, with their labels.
    pub namespaces: BTreeMap<Name, Arc<BTreeMap<Name, Name>>>,
}
