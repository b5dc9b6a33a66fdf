//! The door: Kubernetes API objects become facts here, or are refused with the reason.
//!
//! Each function takes one object and returns an [`Admitted`]: the fact, if there is one, and whatever of the object
//! was refused. A part that is wrong is left out and the rest stands; one object never stops another. The API server
//! validates most of this before it stores an object; what arrives here may come from another version, from a
//! controller's status or from a hand-written EndpointSlice.

mod endpoint_slice;
mod load_balancer;
mod node;
mod pod;
mod service;
mod service_range;
mod service_record;
#[cfg(test)]
mod tests;

pub use endpoint_slice::{SERVICE_LABEL, endpoint_slice};
pub use load_balancer::{
    ADDRESSES_ANNOTATION, ALLOCATED_CONDITION, LoadBalancerPool, LoadBalancerPoolSpec, LoadBalancerPoolStatus,
    POOL_ANNOTATION, READY_CONDITION, SHARING_ANNOTATION, address_pool, is_given,
};
pub use node::node;
pub use pod::{namespace, pod};
pub use service::service;
pub use service_range::service_ranges;
pub use service_record::{ServiceRecord, SliceRecord};

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU16;

use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::{IpFamily, Name, NamespacedName, ObjectKind, Protocol, Rejected, RejectedReason, Subject};

/// What became of an API object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted<T> {
    /// The fact; none when the object as a whole was refused, or means nothing to the network.
    pub fact: Option<T>,
    /// What was refused, in the order of the object's fields.
    pub rejected: Vec<Rejected>,
}

/// Collects what is refused while one object is read.
struct Door {
    object: Subject,
    rejected: Vec<Rejected>,
}

impl Door {
    /// The door for an object of `kind`, named as far as its metadata name it.
    fn new(kind: ObjectKind, metadata: &ObjectMeta) -> Self {
        let name = metadata.name.as_deref().unwrap_or("(unnamed)").into();
        let namespace = metadata.namespace.as_deref().map(Name::from);
        Self { object: Subject { kind, namespace, name }, rejected: Vec::new() }
    }

    /// Notes a refusal.
    fn reject(&mut self, field: impl Into<String>, why: impl Into<String>) {
        let (object, reason) = (self.object.clone(), RejectedReason::Refused);
        self.rejected.push(Rejected { object, field: field.into(), why: why.into(), reason });
    }

    /// The outcome, with the fact that was made if any.
    fn admit<T>(self, fact: Option<T>) -> Admitted<T> {
        Admitted { fact, rejected: self.rejected }
    }

    fn name(&mut self, metadata: &ObjectMeta) -> Option<Name> {
        self.required("metadata.name", metadata.name.as_deref())
    }

    fn namespaced_name(&mut self, metadata: &ObjectMeta) -> Option<NamespacedName> {
        let namespace = self.required("metadata.namespace", metadata.namespace.as_deref());
        let name = self.name(metadata);
        Some(NamespacedName { namespace: namespace?, name: name? })
    }

    fn required(&mut self, field: &str, text: Option<&str>) -> Option<Name> {
        match text {
            Some(text) if !text.is_empty() => Some(text.into()),
            _ => {
                self.reject(field, "is missing; every stored object has it");
                None
            }
        }
    }

    fn port(&mut self, field: &str, number: i32) -> Option<NonZeroU16> {
        let port = u16::try_from(number).ok().and_then(NonZeroU16::new);
        if port.is_none() {
            self.reject(field, format!("{number} is not a port; it must be between 1 and 65535"));
        }
        port
    }

    fn protocol(&mut self, field: &str, text: Option<&str>) -> Option<Protocol> {
        match text {
            None | Some("TCP") => Some(Protocol::Tcp),
            Some("UDP") => Some(Protocol::Udp),
            Some("SCTP") => Some(Protocol::Sctp),
            Some(other) => {
                self.reject(field, format!("\"{other}\" is not a protocol; it must be TCP, UDP or SCTP"));
                None
            }
        }
    }

    fn address(&mut self, field: &str, text: &str) -> Option<IpAddr> {
        let address = text.parse().ok();
        if address.is_none() {
            self.reject(field, format!("\"{text}\" is not an IP address; it must be like 10.0.0.1 or 2001:db8::1"));
        }
        address
    }

    /// A range of addresses; bits beyond its prefix are ignored.
    fn range(&mut self, field: &str, text: &str) -> Option<IpNet> {
        let range = text.parse::<IpNet>().ok().map(|range| range.trunc());
        if range.is_none() {
            self.reject(field, format!("\"{text}\" is not a range of addresses; it must be like 10.244.1.0/24"));
        }
        range
    }

    /// An address that packets of other machines can carry.
    fn routable_address(&mut self, field: &str, text: &str) -> Option<IpAddr> {
        let address = self.address(field, text)?;
        let special = if address.is_unspecified() {
            "the unspecified address"
        } else if address.is_loopback() {
            "a loopback address"
        } else if address.is_multicast() {
            "a multicast address"
        } else if is_link_local(address) {
            "a link-local address"
        } else {
            return Some(address);
        };
        self.reject(field, format!("{address} is {special}; it must be one that other machines can reach"));
        None
    }

    /// The routable addresses of a list, the first of each value.
    fn routable_addresses<'a>(
        &mut self,
        texts: impl IntoIterator<Item = (String, &'a str)>,
        repeated: Repeated,
    ) -> Vec<IpAddr> {
        let mut addresses: Vec<IpAddr> = Vec::new();
        for (field, text) in texts {
            let Some(address) = self.routable_address(&field, text) else { continue };
            let taken = match repeated {
                Repeated::Address => addresses.contains(&address),
                Repeated::Family => addresses.iter().any(|other| IpFamily::of(*other) == IpFamily::of(address)),
            };
            match repeated {
                _ if !taken => addresses.push(address),
                Repeated::Address => self.reject(field, format!("{address} is listed twice; once is enough")),
                Repeated::Family => {
                    self.reject(
                        field,
                        format!("{address} is a second address of its family; there can be one of each"),
                    );
                }
            }
        }
        addresses
    }
}

/// What may not appear twice in a list of addresses.
#[derive(Clone, Copy)]
enum Repeated {
    Address,
    Family,
}

const fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// The labels that leave a Service's addresses, or a slice's endpoints, to another proxy or to nobody.
const DELEGATING_LABELS: [&str; 2] = ["service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"];

fn is_delegated(metadata: &ObjectMeta) -> bool {
    metadata.labels.iter().flatten().any(|(label, _)| DELEGATING_LABELS.contains(&label.as_str()))
}

fn labels(metadata: &ObjectMeta) -> BTreeMap<Name, Name> {
    let labels = metadata.labels.iter().flatten();
    labels.map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect()
}

/// The fields `path[0]`, `path[1]`, ... with their texts.
fn indexed<'a>(path: &str, texts: impl IntoIterator<Item = &'a str>) -> Vec<(String, &'a str)> {
    texts.into_iter().enumerate().map(|(index, text)| (format!("{path}[{index}]"), text)).collect()
}
