//! Services at the door.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use k8s_openapi::api::core::v1 as api;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Admitted, Door, Repeated, indexed, is_delegated, load_balancer};
use crate::{
    Affinity, Clients, IpFamily, Name, ObjectKind, Service, ServiceKind, ServicePort, TargetPort, TrafficPolicy,
};

/// How long a silent client is remembered when the object does not say (`sessionAffinityConfig.clientIP`).
const DEFAULT_AFFINITY_SECONDS: i32 = 10_800;
/// The longest the API allows.
const MAX_AFFINITY_SECONDS: i32 = 86_400;
/// Admits a Service.
pub fn service(object: &api::Service) -> Admitted<Service> {
    let mut door = Door::new(ObjectKind::Service, &object.metadata);
    let Some(name) = door.namespaced_name(&object.metadata) else { return door.admit(None) };
    let Some(spec) = &object.spec else {
        door.reject("spec", "is missing; a Service needs one");
        return door.admit(None);
    };
    let Some(kind) = kind(&mut door, spec, object.status.as_ref()) else { return door.admit(None) };
    let families = if matches!(kind, ServiceKind::Virtual { .. }) { families(&mut door, spec) } else { Vec::new() };
    check_distribution(&mut door, spec);
    let load_balancer = load_balancer::request(&mut door, object, families);
    let fact = Service {
        name,
        kind,
        ports: ports(&mut door, spec),
        internal_policy: policy(&mut door, "spec.internalTrafficPolicy", spec.internal_traffic_policy.as_deref()),
        external_policy: policy(&mut door, "spec.externalTrafficPolicy", spec.external_traffic_policy.as_deref()),
        clients: clients(&mut door, spec),
        affinity: affinity(&mut door, spec),
        health_check_port: health_check_port(&mut door, spec),
        publish_not_ready: spec.publish_not_ready_addresses.unwrap_or(false),
        was_given: load_balancer.is_none() && load_balancer::is_given(object),
        load_balancer,
        delegated: is_delegated(&object.metadata),
    };
    door.admit(Some(fact))
}

fn kind(door: &mut Door, spec: &api::ServiceSpec, status: Option<&api::ServiceStatus>) -> Option<ServiceKind> {
    match spec.type_.as_deref() {
        Some("ExternalName") => external_name(door, spec),
        None | Some("ClusterIP" | "NodePort" | "LoadBalancer") => match spec.cluster_ip.as_deref() {
            Some("None") => Some(ServiceKind::Headless { families: families(door, spec) }),
            _ => Some(virtual_kind(door, spec, status)),
        },
        Some(other) => {
            door.reject(
                "spec.type",
                format!("\"{other}\" is unknown; it must be ClusterIP, NodePort, LoadBalancer or ExternalName"),
            );
            None
        }
    }
}

/// What a Service prefers is done by the hints of its EndpointSlices; only a preference nobody knows is named here.
fn check_distribution(door: &mut Door, spec: &api::ServiceSpec) {
    match spec.traffic_distribution.as_deref() {
        None | Some("" | "PreferClose" | "PreferSameZone" | "PreferSameNode") => {}
        Some(other) => {
            let known = "it must be PreferSameZone, PreferSameNode or PreferClose";
            door.reject("spec.trafficDistribution", format!("\"{other}\" is unknown and without effect; {known}"));
        }
    }
}

fn health_check_port(door: &mut Door, spec: &api::ServiceSpec) -> Option<NonZeroU16> {
    let asks =
        spec.type_.as_deref() == Some("LoadBalancer") && spec.external_traffic_policy.as_deref() == Some("Local");
    let number = spec.health_check_node_port.filter(|number| asks && *number != 0)?;
    door.port("spec.healthCheckNodePort", number)
}

fn external_name(door: &mut Door, spec: &api::ServiceSpec) -> Option<ServiceKind> {
    let target = spec.external_name.as_deref().map(|name| name.trim_end_matches('.'));
    match target {
        Some(target) if !target.is_empty() => Some(ServiceKind::ExternalName { target: target.into() }),
        _ => {
            door.reject("spec.externalName", "is missing; it must be the name the Service is an alias for");
            None
        }
    }
}

fn families(door: &mut Door, spec: &api::ServiceSpec) -> Vec<IpFamily> {
    let mut families = Vec::new();
    for (field, text) in indexed("spec.ipFamilies", spec.ip_families.iter().flatten().map(String::as_str)) {
        match text {
            "IPv4" => families.push(IpFamily::V4),
            "IPv6" => families.push(IpFamily::V6),
            other => door.reject(field, format!("\"{other}\" is not a family; it must be IPv4 or IPv6")),
        }
    }
    if families.is_empty() {
        families.push(IpFamily::V4);
    }
    families
}

fn virtual_kind(door: &mut Door, spec: &api::ServiceSpec, status: Option<&api::ServiceStatus>) -> ServiceKind {
    let listed = spec.cluster_ips.iter().flatten().map(String::as_str);
    let mut texts = indexed("spec.clusterIPs", listed.filter(|text| !text.is_empty()));
    let single = spec.cluster_ip.as_deref().filter(|text| !text.is_empty());
    if let (true, Some(text)) = (texts.is_empty(), single) {
        texts.push(("spec.clusterIP".to_owned(), text));
    }
    if texts.is_empty() {
        door.reject("spec.clusterIP", "is empty; it must be an address, which the API server allocates, or None");
    }
    let external = indexed("spec.externalIPs", spec.external_ips.iter().flatten().map(String::as_str));
    ServiceKind::Virtual {
        cluster_ips: door.routable_addresses(texts, Repeated::Family),
        external_ips: door.routable_addresses(external, Repeated::Address),
        load_balancer_ips: load_balancer_ips(door, spec, status),
    }
}

/// The addresses a load balancer forwards unchanged; with `ipMode: Proxy` it sends to node ports instead (KEP-1860).
fn load_balancer_ips(door: &mut Door, spec: &api::ServiceSpec, status: Option<&api::ServiceStatus>) -> Vec<IpAddr> {
    if spec.type_.as_deref() != Some("LoadBalancer") {
        return Vec::new();
    }
    let ingress = status
        .and_then(|status| status.load_balancer.as_ref())
        .and_then(|load_balancer| load_balancer.ingress.as_deref())
        .unwrap_or_default();
    let unchanged = ingress.iter().enumerate().filter(|(_, ingress)| ingress.ip_mode.as_deref() != Some("Proxy"));
    let texts: Vec<(String, &str)> = unchanged
        .filter_map(|(index, ingress)| {
            Some((format!("status.loadBalancer.ingress[{index}].ip"), ingress.ip.as_deref()?))
        })
        .collect();
    door.routable_addresses(texts, Repeated::Address)
}

/// A range that makes no sense lets nobody in: the others stand, and no range at all would mean everybody.
fn clients(door: &mut Door, spec: &api::ServiceSpec) -> Clients {
    match spec.load_balancer_source_ranges.as_deref() {
        Some(texts) if spec.type_.as_deref() == Some("LoadBalancer") && !texts.is_empty() => {
            // The API server lets blanks around a range through.
            let texts = indexed("spec.loadBalancerSourceRanges", texts.iter().map(|text| text.trim()));
            Clients::Within(texts.iter().filter_map(|(field, text)| door.range(field, text)).collect())
        }
        _ => Clients::All,
    }
}

fn ports(door: &mut Door, spec: &api::ServiceSpec) -> Vec<ServicePort> {
    let mut ports: Vec<ServicePort> = Vec::new();
    for (index, object) in spec.ports.iter().flatten().enumerate() {
        let Some(port) = port(door, index, object) else { continue };
        if ports.iter().any(|other| other.name == port.name) {
            door.reject(format!("spec.ports[{index}].name"), format!("\"{}\" names an earlier port too", port.name));
        } else if ports.iter().any(|other| (other.protocol, other.port) == (port.protocol, port.port)) {
            let field = format!("spec.ports[{index}].port");
            door.reject(field, format!("{} {} is an earlier port too", port.protocol, port.port));
        } else {
            ports.push(port);
        }
    }
    ports
}

fn port(door: &mut Door, index: usize, object: &api::ServicePort) -> Option<ServicePort> {
    let field = |name: &str| format!("spec.ports[{index}].{name}");
    let protocol = door.protocol(&field("protocol"), object.protocol.as_deref());
    let port = door.port(&field("port"), object.port);
    let (protocol, port) = (protocol?, port?);
    let node_port = object.node_port.filter(|number| *number != 0);
    let target = match &object.target_port {
        None | Some(IntOrString::Int(0)) => TargetPort::Number(port),
        Some(IntOrString::String(name)) if name.is_empty() => TargetPort::Number(port),
        Some(IntOrString::Int(number)) => TargetPort::Number(door.port(&field("targetPort"), *number)?),
        Some(IntOrString::String(name)) => TargetPort::Name(name.as_str().into()),
    };
    Some(ServicePort {
        name: Name::from(object.name.as_deref().unwrap_or_default()),
        protocol,
        port,
        target,
        node_port: node_port.and_then(|number| door.port(&field("nodePort"), number)),
    })
}

fn policy(door: &mut Door, field: &str, text: Option<&str>) -> TrafficPolicy {
    match text {
        None | Some("" | "Cluster") => TrafficPolicy::Cluster,
        Some("Local") => TrafficPolicy::Local,
        Some(other) => {
            door.reject(field, format!("\"{other}\" is unknown, Cluster is used; it must be Cluster or Local"));
            TrafficPolicy::Cluster
        }
    }
}

fn affinity(door: &mut Door, spec: &api::ServiceSpec) -> Affinity {
    match spec.session_affinity.as_deref() {
        None | Some("" | "None") => Affinity::None,
        Some("ClientIP") => Affinity::ClientIp { timeout: affinity_timeout(door, spec) },
        Some(other) => {
            let why = format!("\"{other}\" is unknown, None is used; it must be ClientIP or None");
            door.reject("spec.sessionAffinity", why);
            Affinity::None
        }
    }
}

fn affinity_timeout(door: &mut Door, spec: &api::ServiceSpec) -> Duration {
    let config = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
    let asked = config.and_then(|config| config.timeout_seconds).unwrap_or(DEFAULT_AFFINITY_SECONDS);
    let seconds = if (1..=MAX_AFFINITY_SECONDS).contains(&asked) {
        asked
    } else {
        door.reject(
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
            format!(
                "{asked} is out of range, {DEFAULT_AFFINITY_SECONDS} is used; it must be 1 to {MAX_AFFINITY_SECONDS}"
            ),
        );
        DEFAULT_AFFINITY_SECONDS
    };
    Duration::from_secs(u64::from(seconds.unsigned_abs()))
}
