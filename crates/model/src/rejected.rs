//! What could not become a fact.

use std::fmt;

use crate::{Name, NamespacedName, ObjectKind};

/// The kind and name of an API object, printed as `Service shop/cart` or `Node node1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    /// Its kind.
    pub kind: ObjectKind,
    /// Its namespace, unless it belongs to the cluster as a whole.
    pub namespace: Option<Name>,
    /// Its name.
    pub name: Name,
}

impl Subject {
    /// A Node.
    pub fn node(name: &Name) -> Self {
        Self { kind: ObjectKind::Node, namespace: None, name: name.clone() }
    }

    /// A pool of load balancer addresses.
    pub fn pool(name: &Name) -> Self {
        Self { kind: ObjectKind::LoadBalancerPool, namespace: None, name: name.clone() }
    }

    /// A Service.
    pub fn service(key: &NamespacedName) -> Self {
        Self { kind: ObjectKind::Service, namespace: Some(key.namespace.clone()), name: key.name.clone() }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

/// An API object, or a part of it, that was refused at the door: the object, the field, why, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Rejected {
    /// The object.
    pub object: Subject,
    /// Path of the field, e.g. `spec.ports[0].protocol`.
    pub field: String,
    /// What is wrong and what would be right.
    pub why: String,
    /// What kind of trouble it is, in a word programs can look for.
    pub reason: RejectedReason,
}

/// What kind of trouble something rejected is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RejectedReason {
    /// It makes no sense, or cannot be had here.
    #[default]
    Refused,
    /// A Service names a target port that no pod of it has.
    PortNameNotFound,
    /// A Service gets no load balancer address: those of the pools open to it are all taken.
    IPPoolExhausted,
    /// A Service asks for a load balancer address that it cannot have, or lost the one it had.
    IPConflict,
    /// Another machine answers for a load balancer address too.
    DuplicateAddress,
    /// No node that could answer for a load balancer address is on a network of it.
    NoNodeOnNetwork,
    /// A Service has no endpoint that serves.
    NoReadyEndpoints,
    /// A node cannot serve the health check of a Service.
    FailedToStartServiceHealthcheck,
    /// Another program took away or changed what was in a node's kernel.
    KernelChanged,
}

impl RejectedReason {
    /// The word, as it stands in Events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "Refused",
            Self::PortNameNotFound => "PortNameNotFound",
            Self::IPPoolExhausted => "IPPoolExhausted",
            Self::IPConflict => "IPConflict",
            Self::DuplicateAddress => "DuplicateAddress",
            Self::NoNodeOnNetwork => "NoNodeOnNetwork",
            Self::NoReadyEndpoints => "NoReadyEndpoints",
            Self::FailedToStartServiceHealthcheck => "FailedToStartServiceHealthcheck",
            Self::KernelChanged => "KernelChanged",
        }
    }
}

impl fmt::Display for RejectedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.object, self.field, self.why)
    }
}
