//! The snapshot of a whole cluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;

use crate::{AddressPool, EndpointSlice, IpFamily, Name, NamespacedName, Node, Pod, Service, SharedMap};

/// Everything Fairway knows of a cluster at one moment.
///
/// Cloning is O(1) and versions share what they have in common, so that what changed between two snapshots is found
/// without walking them ([`SharedMap::changes_between`]).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Nodes by name.
    pub nodes: SharedMap<Name, Arc<Node>>,
    /// Pods by key. Only roles that watch pods fill this.
    pub pods: SharedMap<NamespacedName, Arc<Pod>>,
    /// Services by key.
    pub services: SharedMap<NamespacedName, Arc<Service>>,
    /// EndpointSlices by their Service, then by their own name.
    pub endpoint_slices: SharedMap<NamespacedName, SharedMap<Name, Arc<EndpointSlice>>>,
    /// Pools of load balancer addresses. Only roles that watch them fill this.
    pub pools: SharedMap<Name, Arc<AddressPool>>,
    /// Ranges that cluster IPs are given from, by the ServiceCIDR that has them. Only roles that watch them fill this, and
    /// not every API server has such objects.
    pub service_ranges: SharedMap<Name, Arc<Vec<IpNet>>>,
    /// Names of the namespaces that exist, with their labels.
    pub namespaces: SharedMap<Name, Arc<BTreeMap<Name, Name>>>,
}

impl Cluster {
    /// Adds a slice, or replaces the one of its name that belongs to the same Service.
    pub fn insert_slice(&mut self, slice: impl Into<Arc<EndpointSlice>>) {
        let slice = slice.into();
        let service = slice.service.clone();
        self.endpoint_slices.update(&service, |slices| {
            slices.insert(slice.name.name.clone(), slice);
        });
    }

    /// Removes a slice of a Service; one that is not there stays away.
    pub fn remove_slice(&mut self, service: &NamespacedName, slice: &Name) {
        self.endpoint_slices.update(service, |slices| {
            slices.remove(slice);
        });
        if self.endpoint_slices.get(service).is_some_and(SharedMap::is_empty) {
            self.endpoint_slices.remove(service);
        }
    }

    /// The slices of a Service whose endpoints are ours to serve, of one family.
    pub fn served_slices_of(
        &self,
        service: &NamespacedName,
        family: IpFamily,
    ) -> impl Iterator<Item = &Arc<EndpointSlice>> {
        self.slices_of(service).filter(move |slice| slice.family == family && !slice.delegated)
    }

    /// The slices of a Service, in the order of their names.
    pub fn slices_of(&self, service: &NamespacedName) -> impl Iterator<Item = &Arc<EndpointSlice>> {
        self.endpoint_slices.get(service).into_iter().flat_map(SharedMap::values)
    }
}
