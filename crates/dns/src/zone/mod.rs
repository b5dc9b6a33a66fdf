//! The zone: every name of the cluster, as tables made from a snapshot.
//!
//! A [`Zone`] is immutable. A new snapshot makes a new zone that shares every table the change did not touch, so
//! the cost of an update is that of the change.

mod addresses;
mod find;
mod reverse;
mod service;
mod update;

use std::collections::HashMap;
use std::sync::Arc;

use model::{Cluster, Name, NamespacedName};

pub use addresses::Addresses;
pub use find::Found;
pub use reverse::ReverseNames;
pub use service::{Host, PortRecords, ServiceNames, SrvPlace};

use crate::wire::DomainName;
use reverse::ReverseIndex;

/// What shapes a zone besides the cluster itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneSettings {
    /// The cluster domain, e.g. `cluster.local`.
    pub origin: DomainName,
    /// Seconds a client may keep an answer.
    pub ttl: u32,
    /// The Service in front of the DNS servers; named in NS records when it exists.
    pub dns_service: NamespacedName,
}

/// Every name of the cluster at one moment.
#[derive(Clone, Debug)]
pub struct Zone {
    settings: Arc<ZoneSettings>,
    fixed: Arc<FixedNames>,
    /// The SOA serial; zero before the first snapshot.
    serial: u32,
    synced: bool,
    /// The snapshot it was made from, to find what the next one changes.
    cluster: Cluster,
    namespaces: HashMap<Name, Arc<NamespaceNames>>,
    reverse: ReverseIndex,
}

/// The Services of one namespace, by name.
#[derive(Clone, Debug, Default)]
pub struct NamespaceNames {
    /// Whether the namespace itself exists; Services can be seen before their namespace.
    exists: bool,
    services: HashMap<Name, Arc<ServiceNames>>,
}

/// Names every zone has, made once.
#[derive(Debug)]
struct FixedNames {
    in_addr_arpa: DomainName,
    ip6_arpa: DomainName,
}

impl Zone {
    /// The zone before the first snapshot: names in it cannot be answered yet, all others can.
    pub fn unsynced(settings: ZoneSettings) -> Self {
        let arpa = |label| DomainName::root().child("arpa").and_then(|arpa| arpa.child(label));
        let or_root = |name: Result<DomainName, _>| name.unwrap_or_else(|_| DomainName::root());
        Self {
            settings: Arc::new(settings),
            fixed: Arc::new(FixedNames { in_addr_arpa: or_root(arpa("in-addr")), ip6_arpa: or_root(arpa("ip6")) }),
            serial: 0,
            synced: false,
            cluster: Cluster::default(),
            namespaces: HashMap::new(),
            reverse: ReverseIndex::default(),
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
