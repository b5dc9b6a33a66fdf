//! The kinds of objects facts are made of.

use std::fmt;

/// A kind of object that becomes a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// Nodes.
    Node,
    /// Namespaces.
    Namespace,
    /// Pods of all namespaces.
    Pod,
    /// Services of all namespaces.
    Service,
    /// EndpointSlices of all namespaces.
    EndpointSlice,
    /// Pools of load balancer addresses.
    LoadBalancerPool,
    /// Ranges of cluster IPs. An API server that has no such objects, or does not show them, is as one without any.
    ServiceCidr,
}

impl ObjectKind {
    /// The kind as the API calls it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Node => "Node",
            Self::Namespace => "Namespace",
            Self::Pod => "Pod",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::LoadBalancerPool => "LoadBalancerPool",
            Self::ServiceCidr => "ServiceCIDR",
        }
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
