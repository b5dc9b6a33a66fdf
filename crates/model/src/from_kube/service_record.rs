//! What the API has of one Service beside its facts, for people who ask why it is as it is.

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{DELEGATING_LABELS, endpoint_slice, service};
use crate::{Name, Rejected};

/// The label that says who writes a slice.
const MANAGER_LABEL: &str = "endpointslice.kubernetes.io/managed-by";

/// What was asked for and refused, and what is for others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceRecord {
    /// `spec.trafficDistribution`, when it says something.
    pub traffic_distribution: Option<String>,
    /// The label that leaves its addresses to another proxy or to nobody, as `label=value`.
    pub delegated_by: Option<String>,
    /// What its load balancer serves itself: addresses of `ipMode: Proxy`, and names.
    pub proxied: Vec<String>,
    /// Conditions of its status that do not hold, as `type: reason: message`.
    pub unmet: Vec<String>,
    /// What of the Service was refused.
    pub rejected: Vec<Rejected>,
    /// Its slices, those that were refused included, by name.
    pub slices: Vec<SliceRecord>,
}

/// One EndpointSlice of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceRecord {
    /// Its name.
    pub name: Name,
    /// `IPv4`, `IPv6` or what cannot be served.
    pub address_type: String,
    /// Who writes it, if it says so.
    pub managed_by: Option<String>,
    /// The label that leaves its endpoints to another proxy or to nobody, as `label=value`.
    pub delegated_by: Option<String>,
    /// Its ports, as `name:8080/TCP`; the number is `*` where it has none.
    pub ports: Vec<String>,
    /// How many endpoints it lists.
    pub endpoints: usize,
    /// What of it was refused.
    pub rejected: Vec<Rejected>,
}

impl ServiceRecord {
    /// The record of a Service and its slices.
    pub fn of(object: &core::Service, slices: &[discovery::EndpointSlice]) -> Self {
        let mut slices: Vec<SliceRecord> = slices.iter().map(SliceRecord::of).collect();
        slices.sort_by(|one, other| one.name.cmp(&other.name));
        let distribution = object.spec.as_ref().and_then(|spec| spec.traffic_distribution.clone());
        Self {
            traffic_distribution: distribution.filter(|text| !text.is_empty()),
            delegated_by: delegating_label(&object.metadata),
            proxied: proxied(object),
            unmet: unmet(object),
            rejected: service(object).rejected,
            slices,
        }
    }
}

impl SliceRecord {
    fn of(object: &discovery::EndpointSlice) -> Self {
        let labels = object.metadata.labels.as_ref();
        Self {
            name: object.metadata.name.as_deref().unwrap_or_default().into(),
            address_type: object.address_type.clone(),
            managed_by: labels.and_then(|labels| labels.get(MANAGER_LABEL)).cloned(),
            delegated_by: delegating_label(&object.metadata),
            ports: object.ports.iter().flatten().map(port).collect(),
            endpoints: object.endpoints.as_ref().map_or(0, Vec::len),
            rejected: endpoint_slice(object).rejected,
        }
    }
}

fn port(object: &discovery::EndpointPort) -> String {
    let number = object.port.map_or_else(|| "*".to_owned(), |number| number.to_string());
    let protocol = object.protocol.as_deref().unwrap_or("TCP");
    match object.name.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => format!("{name}:{number}/{protocol}"),
        None => format!("{number}/{protocol}"),
    }
}

fn delegating_label(metadata: &ObjectMeta) -> Option<String> {
    let mut labels = metadata.labels.iter().flatten();
    let (label, value) = labels.find(|(label, _)| DELEGATING_LABELS.contains(&label.as_str()))?;
    Some(format!("{label}={value}"))
}

fn proxied(object: &core::Service) -> Vec<String> {
    let status = object.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = status.and_then(|load_balancer| load_balancer.ingress.as_deref()).unwrap_or_default();
    let others = ingress.iter().filter(|each| each.ip.is_none() || each.ip_mode.as_deref() == Some("Proxy"));
    others.filter_map(|each| each.ip.clone().or_else(|| each.hostname.clone())).collect()
}

fn unmet(object: &core::Service) -> Vec<String> {
    let conditions = object.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let unmet = conditions.filter(|condition| condition.status != "True");
    unmet.map(|condition| format!("{}: {}: {}", condition.type_, condition.reason, condition.message)).collect()
}
