//! Which pods have an address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use model::{Name, Pod};

use super::reverse::{SHARDS, shard};

/// Namespaces by the addresses of their pods, in tables that are shared between zones until one of them changes.
#[derive(Clone, Debug)]
pub(super) struct PodIndex(Vec<Arc<HashMap<IpAddr, Vec<Name>>>>);

impl Default for PodIndex {
    fn default() -> Self {
        Self(vec![Arc::default(); SHARDS])
    }
}

impl PodIndex {
    /// Whether a pod of the namespace has the address.
    pub(super) fn has(&self, namespace: &str, address: IpAddr) -> bool {
        self.0[shard(address)].get(&address).is_some_and(|names| names.iter().any(|name| name.as_str() == namespace))
    }

    pub(super) fn insert(&mut self, pod: &Pod) {
        for &address in pod.addresses.iter().filter(|_| !pod.finished) {
            let table = Arc::make_mut(&mut self.0[shard(address)]);
            table.entry(address).or_default().push(pod.name.namespace.clone());
        }
    }

    pub(super) fn remove(&mut self, pod: &Pod) {
        for address in pod.addresses.iter().filter(|_| !pod.finished) {
            let table = Arc::make_mut(&mut self.0[shard(*address)]);
            let Some(names) = table.get_mut(address) else { continue };
            // Pods of one namespace may share a node's address: one entry is one pod.
            if let Some(place) = names.iter().position(|name| *name == pod.name.namespace) {
                names.swap_remove(place);
            }
            if names.is_empty() {
                table.remove(address);
            }
        }
    }
}
