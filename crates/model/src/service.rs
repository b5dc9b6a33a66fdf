//! Services and the endpoints behind them.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use ipnet::IpNet;

use crate::{LoadBalancerRequest, Name, NamespacedName, Protocol};

/// A Service: a stable name, and for most kinds stable addresses, in front of endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Namespace and name.
    pub name: NamespacedName,
    /// How it is reached.
    pub kind: ServiceKind,
    /// Ports in the order of the object; unique by name and by (protocol, port).
    pub ports: Vec<ServicePort>,
    /// Which endpoints serve clients inside the cluster.
    pub internal_policy: TrafficPolicy,
    /// Which endpoints serve clients outside the cluster.
    pub external_policy: TrafficPolicy,
    /// Who may use its load balancer addresses.
    pub clients: Clients,
    /// Whether one client keeps meeting one endpoint.
    pub affinity: Affinity,
    /// Where load balancers ask whether this Service has endpoints on a node (`spec.healthCheckNodePort`); only for those
    /// of type LoadBalancer whose external policy is Local.
    pub health_check_port: Option<NonZeroU16>,
    /// What it asks of a load balancer; only for those of type LoadBalancer.
    pub load_balancer: Option<Box<LoadBalancerRequest>>,
    /// Whether its status still says that Fairway gave it load balancer addresses though it asks for none any more.
    pub was_given: bool,
    /// Whether endpoints that are not ready are published in DNS and served.
    pub publish_not_ready: bool,
    /// Whether its addresses are not for us to serve: another proxy does (label
    /// `service.kubernetes.io/service-proxy-name`) or nobody (label `service.kubernetes.io/headless`). Its names are
    /// ours all the same.
    pub delegated: bool,
}

impl Service {
    /// A Service of which nothing is asked but this; it has no ports yet.
    pub const fn new(name: NamespacedName, kind: ServiceKind) -> Self {
        Self {
            name,
            kind,
            ports: Vec::new(),
            internal_policy: TrafficPolicy::Cluster,
            external_policy: TrafficPolicy::Cluster,
            clients: Clients::All,
            affinity: Affinity::None,
            health_check_port: None,
            load_balancer: None,
            was_given: false,
            publish_not_ready: false,
            delegated: false,
        }
    }
}

/// How a Service is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceKind {
    /// A virtual address per family; also the base of NodePort and LoadBalancer, which add node ports and addresses.
    Virtual {
        /// One or two cluster addresses, the primary family first.
        cluster_ips: Vec<IpAddr>,
        /// Addresses outside the cluster (`spec.externalIPs`).
        external_ips: Vec<IpAddr>,
        /// Addresses given by a load balancer (`status.loadBalancer.ingress`).
        load_balancer_ips: Vec<IpAddr>,
    },
    /// No virtual address (`clusterIP: None`): names resolve to the endpoints.
    Headless {
        /// The families of its endpoints, the primary first.
        families: Vec<IpFamily>,
    },
    /// An alias for a name outside the cluster.
    ExternalName {
        /// The canonical name, without a trailing dot.
        target: Name,
    },
}

impl ServiceKind {
    /// The families it has endpoints of, the primary first; none for a name elsewhere.
    pub fn families(&self) -> Vec<IpFamily> {
        match self {
            Self::Virtual { cluster_ips, .. } => cluster_ips.iter().copied().map(IpFamily::of).collect(),
            Self::Headless { families } => families.clone(),
            Self::ExternalName { .. } => Vec::new(),
        }
    }
}

/// One port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// The port's name; empty text when the Service has a single unnamed port.
    pub name: Name,
    /// Transport protocol.
    pub protocol: Protocol,
    /// The port clients use.
    pub port: NonZeroU16,
    /// The port on the endpoints as the Service asks for it; EndpointSlices carry the resolved numbers.
    pub target: TargetPort,
    /// The port on every node, for NodePort and LoadBalancer Services.
    pub node_port: Option<NonZeroU16>,
}

/// A target port by number or by container port name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPort {
    /// A port number.
    Number(NonZeroU16),
    /// The name of a container port.
    Name(Name),
}

/// Which endpoints may serve a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrafficPolicy {
    /// Any endpoint of the cluster.
    #[default]
    Cluster,
    /// Only endpoints on the node where the packet enters.
    Local,
}

/// Who may use a Service's load balancer addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Clients {
    /// Everybody.
    #[default]
    All,
    /// Those in one of these ranges (`spec.loadBalancerSourceRanges`); of a family without a range, nobody.
    Within(Vec<IpNet>),
}

/// Whether one client keeps meeting one endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Affinity {
    /// Each connection is balanced on its own.
    #[default]
    None,
    /// Connections of one client address go to one endpoint until it was silent for `timeout`.
    ClientIp {
        /// How long a silent client is remembered.
        timeout: Duration,
    },
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IpFamily {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl IpFamily {
    /// The family of an address.
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

impl fmt::Display for IpFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// One EndpointSlice of a Service: endpoints that share ports and a family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSlice {
    /// Namespace and name of the slice.
    pub name: NamespacedName,
    /// The Service it belongs to (label `kubernetes.io/service-name`, same namespace).
    pub service: NamespacedName,
    /// The family of every endpoint in it.
    pub family: IpFamily,
    /// Whether its endpoints are not for us to serve, as with a [`Service`](Service::delegated); their names are.
    pub delegated: bool,
    /// When the change that last touched it happened, as time since 1970, if its writer says so.
    pub triggered: Option<Duration>,
    /// Ports every endpoint listens on.
    pub ports: Vec<EndpointPort>,
    /// The endpoints, in the order of the object.
    pub endpoints: Vec<Endpoint>,
}

/// A port of the endpoints in a slice; `name` links it to the Service port of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointPort {
    /// The Service port's name; empty when unnamed.
    pub name: Name,
    /// Transport protocol.
    pub protocol: Protocol,
    /// The port on the endpoint.
    pub port: NonZeroU16,
}

/// One endpoint: an address and how fit it is to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address; slices with several addresses per endpoint are flattened to the first, as the API specifies.
    pub address: IpAddr,
    /// Its host name for DNS, when it has one.
    pub hostname: Option<Name>,
    /// The node it runs on, when known.
    pub node: Option<Name>,
    /// The nodes whose clients it is meant for; no hint when empty.
    pub for_nodes: Vec<Name>,
    /// The zones whose clients it is meant for; no hint when empty.
    pub for_zones: Vec<Name>,
    /// The pod behind it, when there is one.
    pub pod: Option<NamespacedName>,
    /// Ready to serve new connections.
    pub ready: bool,
    /// Able to serve, though perhaps on its way out.
    pub serving: bool,
    /// On its way out.
    pub terminating: bool,
}

impl Endpoint {
    /// A ready endpoint of which only the address is known.
    pub const fn new(address: IpAddr) -> Self {
        Self {
            address,
            hostname: None,
            node: None,
            for_nodes: Vec::new(),
            for_zones: Vec::new(),
            pod: None,
            ready: true,
            serving: true,
            terminating: false,
        }
    }
}
