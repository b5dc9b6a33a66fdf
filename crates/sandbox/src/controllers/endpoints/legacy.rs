//! The Endpoints object of a Service, for clients that do not know slices.

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::{
    api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, ObjectReference, Service, ServiceSpec},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::members::{Member, families, is_headless};
use crate::controllers::{
    kind::Kind,
    write::{Write, to_value},
};

/// Marks the endpoints of a Service without an address of its own.
pub(super) const HEADLESS_LABEL: &str = "service.kubernetes.io/headless";
const MANAGED_BY_LABEL: &str = "endpoints.kubernetes.io/managed-by";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// Addresses in one Endpoints object; Kubernetes' limit.
const MAX_ADDRESSES: usize = 1000;

/// The write that brings the Endpoints object of a Service up to date.
pub(super) fn plan_endpoints(
    service: &Service,
    spec: &ServiceSpec,
    members: &[Member],
    present: Option<&Endpoints>,
) -> Option<Write> {
    let subsets = subsets(spec, members);
    let is_truncated = subsets.iter().map(address_count).sum::<usize>() > MAX_ADDRESSES;
    let subsets = if is_truncated { truncated(subsets) } else { subsets };
    let Some(present) = present else {
        let metadata = ObjectMeta {
            name: service.metadata.name.clone(),
            namespace: service.metadata.namespace.clone(),
            ..ObjectMeta::default()
        };
        return Some(Write::create(&described(metadata, service, spec, (subsets, is_truncated))));
    };
    let mut wanted = described(present.metadata.clone(), service, spec, (subsets, is_truncated));
    if present.subsets.is_none() && wanted.subsets.as_ref().is_some_and(Vec::is_empty) {
        wanted.subsets = None;
    }
    Write::update(present, &wanted)
}

fn described(
    mut metadata: ObjectMeta,
    service: &Service,
    spec: &ServiceSpec,
    (subsets, is_truncated): (Vec<EndpointSubset>, bool),
) -> Endpoints {
    let mut labels = service.labels().clone();
    labels.insert(MANAGED_BY_LABEL.to_owned(), "endpoint-controller".to_owned());
    if is_headless(spec) {
        labels.insert(HEADLESS_LABEL.to_owned(), String::new());
    } else {
        labels.remove(HEADLESS_LABEL);
    }
    metadata.labels = Some(labels);
    let annotations = metadata.annotations.get_or_insert_default();
    if is_truncated {
        annotations.insert(OVER_CAPACITY.to_owned(), "truncated".to_owned());
    } else {
        annotations.remove(OVER_CAPACITY);
    }
    if annotations.is_empty() {
        metadata.annotations = None;
    }
    Endpoints { metadata, subsets: Some(subsets) }
}

/// Addresses with equal ports together, ready and not ready apart, all in order.
fn subsets(spec: &ServiceSpec, members: &[Member]) -> Vec<EndpointSubset> {
    let publish_all = spec.publish_not_ready_addresses == Some(true);
    let family = families(spec)[0];
    let mut by_ports: BTreeMap<String, EndpointSubset> = BTreeMap::new();
    // Unlike slices, this object leaves pods out that have none of the ports.
    let wants_ports = spec.ports.as_ref().is_some_and(|ports| !ports.is_empty());
    let counted = members.iter().filter(|member| {
        let has_ports = !wants_ports || !member.ports.is_empty();
        member.family == family && has_ports && (publish_all || !member.terminating)
    });
    for member in counted {
        let ports: Vec<EndpointPort> = member.ports.iter().map(legacy_port).collect();
        let subset = by_ports.entry(to_value(&ports).to_string()).or_default();
        subset.ports = Some(ports).filter(|ports| !ports.is_empty());
        let is_ready = publish_all || member.serving;
        let list = if is_ready { &mut subset.addresses } else { &mut subset.not_ready_addresses };
        list.get_or_insert_default().push(legacy_address(member));
    }
    let mut subsets: Vec<_> = by_ports.into_values().collect();
    for list in subsets.iter_mut().flat_map(|subset| [&mut subset.addresses, &mut subset.not_ready_addresses]) {
        list.iter_mut().for_each(|addresses| addresses.sort_by_key(|address| address.ip.parse::<IpAddr>().ok()));
    }
    subsets
}

fn legacy_port(port: &k8s_openapi::api::discovery::v1::EndpointPort) -> EndpointPort {
    EndpointPort {
        name: port.name.clone().filter(|name| !name.is_empty()),
        port: port.port.unwrap_or_default(),
        protocol: port.protocol.clone(),
        app_protocol: port.app_protocol.clone(),
    }
}

fn legacy_address(member: &Member) -> EndpointAddress {
    EndpointAddress {
        ip: member.address.clone(),
        hostname: member.hostname.clone(),
        node_name: member.node.clone(),
        target_ref: Some(ObjectReference { api_version: None, ..member.target.clone() }),
    }
}

fn address_count(subset: &EndpointSubset) -> usize {
    subset.addresses.iter().chain(&subset.not_ready_addresses).map(Vec::len).sum()
}

/// Ready addresses are kept before others.
fn truncated(mut subsets: Vec<EndpointSubset>) -> Vec<EndpointSubset> {
    let mut room = MAX_ADDRESSES;
    let mut cut = |list: &mut Option<Vec<EndpointAddress>>| {
        if let Some(addresses) = list {
            addresses.truncate(room);
            room -= addresses.len();
        }
        if list.as_ref().is_some_and(Vec::is_empty) {
            *list = None;
        }
    };
    subsets.iter_mut().for_each(|subset| cut(&mut subset.addresses));
    subsets.iter_mut().for_each(|subset| cut(&mut subset.not_ready_addresses));
    subsets.retain(|subset| address_count(subset) > 0);
    subsets
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::members::Family;
    use super::*;

    fn service(spec: &Value) -> Service {
        let metadata = json!({"name": "web", "namespace": "shop", "labels": {"app": "web"}});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
    }

    fn member(address: &str, port: i32, serving: bool, terminating: bool) -> Member {
        let ports = json!([{"name": "", "port": port, "protocol": "TCP"}]);
        Member {
            family: Family::V4,
            address: address.to_owned(),
            ports: serde_json::from_value(ports).unwrap(),
            serving,
            terminating,
            hostname: None,
            node: None,
            target: ObjectReference::default(),
        }
    }

    fn written(spec: &Value, members: &[Member]) -> Value {
        let service = service(spec);
        match plan_endpoints(&service, service.spec.as_ref().unwrap(), members, None) {
            Some(Write::Create { object, .. }) => object,
            other => panic!("{other:?}"),
        }
    }

    fn address(ip: &str) -> Value {
        json!({"ip": ip, "targetRef": {}})
    }

    #[test]
    fn ready_and_not_ready_addresses_stand_apart_and_terminating_ones_are_left_out() {
        let members = [
            member("10.0.0.10", 80, true, false),
            member("10.0.0.9", 80, true, false),
            member("10.0.0.3", 80, false, false),
            member("10.0.0.4", 80, true, true),
            member("10.0.0.5", 81, true, false),
        ];
        let port = |number: i32| json!([{"port": number, "protocol": "TCP"}]);
        let expected = json!([
            {"addresses": [address("10.0.0.9"), address("10.0.0.10")], "notReadyAddresses": [address("10.0.0.3")], "ports": port(80)},
            {"addresses": [address("10.0.0.5")], "ports": port(81)},
        ]);
        assert_eq!(written(&json!({}), &members)["subsets"], expected);
    }

    #[test]
    fn pods_without_any_of_the_ports_are_left_out() {
        let lacking = Member { ports: Vec::new(), ..member("10.0.0.3", 80, true, false) };
        let members = [lacking, member("10.0.0.4", 80, true, false)];
        let subsets = |spec: &Value| written(spec, &members)["subsets"].as_array().unwrap().len();
        assert_eq!(subsets(&json!({"ports": [{"port": 80, "targetPort": "http"}]})), 1);
        assert_eq!(subsets(&json!({"clusterIP": "None"})), 2);
    }

    #[test]
    fn publishing_all_makes_every_address_ready() {
        let members = [member("10.0.0.3", 80, false, false), member("10.0.0.4", 80, false, true)];
        let subsets = written(&json!({"publishNotReadyAddresses": true}), &members)["subsets"].clone();
        assert_eq!(subsets[0]["addresses"], json!([address("10.0.0.3"), address("10.0.0.4")]));
        assert_eq!(subsets[0]["notReadyAddresses"], Value::Null);
    }

    #[test]
    fn labels_come_from_the_service_and_say_whether_it_is_headless() {
        let labels = written(&json!({"clusterIP": "None"}), &[])["metadata"]["labels"].clone();
        let expected = json!({"app": "web", MANAGED_BY_LABEL: "endpoint-controller", HEADLESS_LABEL: ""});
        assert_eq!(labels, expected);
    }

    #[test]
    fn no_more_than_a_thousand_addresses_and_ready_ones_first() {
        let numbered = |number: usize| format!("10.0.{}.{}", number / 256, number % 256);
        let members: Vec<_> = (0..1200).map(|number| member(&numbered(number), 80, number >= 300, false)).collect();
        let object = written(&json!({}), &members);
        assert_eq!(object["subsets"][0]["addresses"].as_array().unwrap().len(), 900);
        assert_eq!(object["subsets"][0]["notReadyAddresses"].as_array().unwrap().len(), 100);
        assert_eq!(object["metadata"]["annotations"], json!({OVER_CAPACITY: "truncated"}));
    }

    #[test]
    fn unchanged_endpoints_are_not_written() {
        let service = service(&json!({}));
        let spec = service.spec.as_ref().unwrap();
        let members = [member("10.0.0.3", 80, true, false)];
        let present: Endpoints = serde_json::from_value(written(&json!({}), &members)).unwrap();
        assert_eq!(plan_endpoints(&service, spec, &members, Some(&present)), None);
    }
}
