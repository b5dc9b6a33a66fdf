//! What decided a packet's fate.

use std::fmt;

use model::{Name, NamespacedName};

/// What decided a packet's fate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The destination belongs to no Service, and the packet stays in the cluster or is no pod's.
    NoService,
    /// The destination belongs to no Service, and a pod's packet leaves the cluster.
    LeavesCluster,
    /// The destination is the cluster IP of a Service that has no such port.
    ClosedPort {
        /// Its name.
        service: NamespacedName,
    },
    /// It is for the tunnel between the nodes, and none of the other nodes sent it.
    NotOfNode,
    /// A Service's source ranges: the client is in none of them.
    SourceRanges {
        /// Its name.
        service: NamespacedName,
        /// The name of its port; empty when unnamed.
        port: Name,
    },
    /// A Service.
    Service {
        /// Its name.
        service: NamespacedName,
        /// The name of its port; empty when unnamed.
        port: Name,
        /// Which of its addresses was asked.
        frontend: FrontendKind,
        /// Which endpoints were considered.
        scope: Scope,
        /// Which of those may serve.
        selection: Selection,
    },
}

/// Which of a Service's addresses a packet was sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrontendKind {
    /// A cluster address.
    ClusterIp,
    /// One of `spec.externalIPs`.
    ExternalIp,
    /// A load balancer's address.
    LoadBalancerIp,
    /// A node port at an address of this node.
    NodePort,
}

/// Which endpoints a traffic policy lets serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of the cluster.
    Cluster,
    /// Those on this node.
    Node,
}

/// Which endpoints are fit to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// The ready ones.
    Ready,
    /// The ready ones whose hints name this node.
    SameNode,
    /// The ready ones whose hints name this node's zone.
    SameZone,
    /// None is ready: those that still serve while they terminate.
    Terminating,
    /// None.
    None,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoService => f.write_str("no Service has this address, protocol and port"),
            Self::LeavesCluster => {
                f.write_str("no Service has this address, protocol and port; a pod's packet leaves the cluster")
            }
            Self::ClosedPort { service } => {
                write!(f, "Service {service}, cluster IP: it has no such protocol and port")
            }
            Self::NotOfNode => f.write_str("the tunnel takes packets of the cluster's other nodes only"),
            Self::SourceRanges { service, port } => {
                write_port(f, service, port)?;
                write!(f, "{}: the client is in none of its source ranges", FrontendKind::LoadBalancerIp)
            }
            Self::Service { service, port, frontend, scope, selection } => {
                write_port(f, service, port)?;
                let endpoints = match selection {
                    Selection::Ready => "ready endpoints",
                    Selection::SameNode => "ready endpoints meant for this node",
                    Selection::SameZone => "ready endpoints meant for this zone",
                    Selection::Terminating => "no ready endpoint, those that serve while terminating",
                    Selection::None => "no endpoint that can serve",
                };
                let place = match scope {
                    Scope::Cluster => "",
                    Scope::Node => " on this node",
                };
                write!(f, "{frontend}: {endpoints}{place}")
            }
        }
    }
}

fn write_port(f: &mut fmt::Formatter<'_>, service: &NamespacedName, port: &Name) -> fmt::Result {
    write!(f, "Service {service}, ")?;
    if port.as_str().is_empty() { Ok(()) } else { write!(f, "port {port}, ") }
}

impl fmt::Display for FrontendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClusterIp => "cluster IP",
            Self::ExternalIp => "external IP",
            Self::LoadBalancerIp => "load balancer IP",
            Self::NodePort => "node port",
        })
    }
}
