//! The zone: every name of the cluster, as tables made from a snapshot.
//!
//! A [`Zone`] is immutable. A new snapshot makes a new zone that shares every table the change did not touch, so
//! the cost of an update is that of the change.

mod addresses;
mod find;
mod pods;
mod reverse;
mod service;
mod settings;
mod store;
mod update;

use std::collections::HashMap;
use std::sync::Arc;

use model::{Cluster, Name};

pub use addresses::Addresses;
pub use find::Found;
pub use reverse::ReverseNames;
pub use service::{Host, PortRecords, ServiceNames, SrvPlace};
pub use settings::{EndpointNames, PodNames, ZoneSettings};
pub use store::Zones;

use pods::PodIndex;
use reverse::ReverseIndex;
pub(crate) use reverse::reverse_address;

/// Every name of the cluster at one moment.
#[derive(Clone, Debug)]
pub struct Zone {
    settings: Arc<ZoneSettings>,
    /// The SOA serial; zero before the first snapshot.
    serial: u32,
    synced: bool,
    /// The snapshot it was made from, to find what the next one changes.
    cluster: Cluster,
    namespaces: HashMap<Name, Arc<NamespaceNames>>,
    reverse: ReverseIndex,
    /// Filled only when pods are verified.
    pods: PodIndex,
}

/// The Services of one namespace, by name.
#[derive(Clone, Debug, Default)]
pub struct NamespaceNames {
    /// Whether the namespace itself exists; Services can be seen before their namespace.
    exists: bool,
    services: HashMap<Name, Arc<ServiceNames>>,
}

impl Zone {
    /// The zone before the first snapshot: names in it cannot be answered yet, all others can.
    pub fn unsynced(settings: ZoneSettings) -> Self {
        Self {
            settings: Arc::new(settings),
            serial: 0,
            synced: false,
            cluster: Cluster::default(),
            namespaces: HashMap::new(),
            reverse: ReverseIndex::default(),
            pods: PodIndex::default(),
        }
    }

    /// Whether the zone was made from a snapshot.
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    /// What shapes the zone besides the cluster.
    pub fn settings(&self) -> &ZoneSettings {
        &self.settings
    }

    /// The SOA serial.
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// The Service in front of the DNS servers, when it exists.
    pub fn dns_service(&self) -> Option<&ServiceNames> {
        let key = &self.settings.dns_service;
        self.namespaces.get(&key.namespace)?.services.get(&key.name).map(|service| &**service)
    }
}

/// A label of a query as the text it must be to be the name of an object.
fn text(label: &[u8]) -> &str {
    // No object's name is empty, so what is not text finds nothing.
    std::str::from_utf8(label).unwrap_or_default()
}
