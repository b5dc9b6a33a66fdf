//! Facts: what a cluster is, validated once at the door and never questioned again.
//!
//! Everything Fairway computes (plans, names, explanations) is computed from one [`Cluster`] snapshot.
//! API objects become facts in [`from_kube`]; what cannot become a fact becomes a [`Rejected`].
//! This crate is pure: no I/O, no clock, no randomness, no logging.

mod cluster;
mod digest;
mod fitness;
pub mod from_kube;
mod load_balancer;
mod mac;
mod map;
mod name;
mod node;
mod node_networks;
mod object_kind;
mod pod;
mod port;
mod rejected;
mod reserved;
mod selector;
mod service;

pub use cluster::Cluster;
pub use digest::fnv1a;
pub use fitness::Fitness;
pub use load_balancer::{AddressPool, AddressRange, AddressWish, LOAD_BALANCER_CLASS, LoadBalancerRequest, PoolStatus};
pub use mac::MacAddress;
pub use map::{Change, Iter, SharedMap};
pub use name::{Name, NamespacedName};
pub use node::Node;
pub use node_networks::NodeNetworks;
pub use object_kind::ObjectKind;
pub use pod::Pod;
pub use port::{PortRange, Protocol};
pub use rejected::{Rejected, RejectedReason, Subject};
pub use reserved::{RESERVED_RANGES, reserved_part};
pub use selector::{Requirement, Selector, SelectorOperator};
pub use service::{
    Affinity, Clients, Endpoint, EndpointPort, EndpointSlice, IpFamily, Service, ServiceKind, ServicePort, TargetPort,
    TrafficPolicy,
};
