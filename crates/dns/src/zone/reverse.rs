//! From addresses back to names.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::wire::DomainName;

/// How many tables share the addresses: a change copies one of them, not all.
const SHARDS: usize = 256;

/// The names of one address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReverseNames {
    /// Services that have it as a cluster address; at most one in a sane cluster.
    services: Vec<DomainName>,
    /// Endpoints that have it, sorted.
    endpoints: Vec<DomainName>,
}

impl ReverseNames {
    /// The names to answer with: a cluster address is the Service's and nobody else's.
    pub fn names(&self) -> &[DomainName] {
        if self.services.is_empty() { &self.endpoints } else { &self.services }
    }

    fn is_empty(&self) -> bool {
        self.services.is_empty() && self.endpoints.is_empty()
    }
}

/// What a name is to the address it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Service,
    Endpoint,
}

/// All addresses with names, in tables that are shared between zones until one of them changes.
#[derive(Clone, Debug)]
pub(super) struct ReverseIndex(Vec<Arc<HashMap<IpAddr, ReverseNames>>>);

impl Default for ReverseIndex {
    fn default() -> Self {
        Self(vec![Arc::default(); SHARDS])
    }
}

impl ReverseIndex {
    pub(super) fn get(&self, address: IpAddr) -> Option<&ReverseNames> {
        self.0[shard(address)].get(&address)
    }

    pub(super) fn insert(&mut self, address: IpAddr, role: Role, name: DomainName) {
        let names = Arc::make_mut(&mut self.0[shard(address)]).entry(address).or_default();
        let list = names.list(role);
        if let Err(place) = list.binary_search(&name) {
            list.insert(place, name);
        }
    }

    pub(super) fn remove(&mut self, address: IpAddr, role: Role, name: &DomainName) {
        let table = Arc::make_mut(&mut self.0[shard(address)]);
        let Some(names) = table.get_mut(&address) else {
            return;
        };
        let list = names.list(role);
        if let Ok(place) = list.binary_search(name) {
            list.remove(place);
        }
        if names.is_empty() {
            table.remove(&address);
        }
    }
}

impl ReverseNames {
    fn list(&mut self, role: Role) -> &mut Vec<DomainName> {
        match role {
            Role::Service => &mut self.services,
            Role::Endpoint => &mut self.endpoints,
        }
    }
}

/// Neighbouring addresses are spread over the tables by their last octet.
fn shard(address: IpAddr) -> usize {
    usize::from(match address {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(address) => address.octets()[15],
    })
}
