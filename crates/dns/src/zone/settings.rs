//! What shapes a zone besides the cluster itself.

use std::collections::BTreeSet;

use model::{Name, NamespacedName};

use crate::config::{DEFAULT_TTL, is_within};
use crate::wire::{DomainName, QueryName};

/// What shapes a zone besides the cluster itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneSettings {
    /// The cluster domain, e.g. `cluster.local`.
    pub origin: DomainName,
    /// Zones in which addresses resolve back to names.
    pub reverse: Vec<DomainName>,
    /// Seconds a client may keep an answer.
    pub ttl: u32,
    /// The Service in front of the DNS servers; named in NS records when it exists.
    pub dns_service: NamespacedName,
    /// Which pods have names made from their addresses.
    pub pods: PodNames,
    /// What endpoints without a host name are called.
    pub endpoints: EndpointNames,
    /// The namespaces that have names; all of them without a choice.
    pub namespaces: Option<BTreeSet<Name>>,
    /// Whether Services that nothing is behind have no name.
    pub ignore_empty: bool,
    /// Zones whose missing names may be known elsewhere.
    pub fallthrough: Vec<DomainName>,
}

/// Which pods have names made from their addresses, such as `10-244-1-5.shop.pod.cluster.local`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodNames {
    /// None.
    Disabled,
    /// Every address in every namespace, whether or not there is such a pod.
    Insecure,
    /// The pods there are.
    Verified,
}

/// What endpoints without a host name are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointNames {
    /// By their addresses.
    Addresses,
    /// By their pods, and without one by their addresses.
    Pods,
    /// Endpoints have no names, and neither have headless Services.
    None,
}

impl ZoneSettings {
    /// A zone with names for all Services and their endpoints, as CoreDNS makes it unless told otherwise.
    pub fn new(origin: DomainName, dns_service: NamespacedName) -> Self {
        Self {
            origin,
            reverse: Vec::new(),
            ttl: DEFAULT_TTL,
            dns_service,
            pods: PodNames::Disabled,
            endpoints: EndpointNames::Addresses,
            namespaces: None,
            ignore_empty: false,
            fallthrough: Vec::new(),
        }
    }

    /// Whether the zone depends on the cluster's pods.
    pub fn needs_pods(&self) -> bool {
        self.pods == PodNames::Verified
    }

    /// Whether the namespace has names.
    pub(super) fn exposes(&self, namespace: &Name) -> bool {
        self.namespaces.as_ref().is_none_or(|exposed| exposed.contains(namespace))
    }

    /// Whether `name`, missing here, may be known elsewhere.
    pub(crate) fn falls_through(&self, name: &QueryName) -> bool {
        is_within(name, &self.fallthrough)
    }
}
