//! EndpointSlices at the door.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::discovery::v1 as api;
use k8s_openapi::jiff::Timestamp;

use super::{Admitted, Door, is_delegated};
use crate::{Endpoint, EndpointPort, EndpointSlice, IpFamily, Name, NamespacedName, ObjectKind};

/// The label that says which Service a slice belongs to.
pub const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// The annotation that says when the change happened that last touched a slice.
const TRIGGER_ANNOTATION: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// Admits an EndpointSlice. One without a Service is no fact and no fault.
pub fn endpoint_slice(object: &api::EndpointSlice) -> Admitted<EndpointSlice> {
    let mut door = Door::new(ObjectKind::EndpointSlice, &object.metadata);
    let Some(name) = door.namespaced_name(&object.metadata) else { return door.admit(None) };
    let owner = object.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_LABEL));
    let Some(owner) = owner.filter(|owner| !owner.is_empty()) else { return door.admit(None) };
    let service = NamespacedName { namespace: name.namespace.clone(), name: owner.as_str().into() };
    let Some(family) = family(&mut door, &object.address_type) else { return door.admit(None) };
    let ports = ports(&mut door, object.ports.as_deref().unwrap_or_default());
    let endpoints = endpoints(&mut door, family, object);
    let (delegated, triggered) = (is_delegated(&object.metadata), triggered(object));
    door.admit(Some(EndpointSlice { name, service, family, delegated, triggered, ports, endpoints }))
}

fn triggered(object: &api::EndpointSlice) -> Option<Duration> {
    let text = object.metadata.annotations.as_ref()?.get(TRIGGER_ANNOTATION)?;
    Duration::try_from(text.parse::<Timestamp>().ok()?.as_duration()).ok()
}

fn family(door: &mut Door, address_type: &str) -> Option<IpFamily> {
    match address_type {
        "IPv4" => Some(IpFamily::V4),
        "IPv6" => Some(IpFamily::V6),
        other => {
            door.reject("addressType", format!("\"{other}\" cannot be served; it must be IPv4 or IPv6"));
            None
        }
    }
}

fn ports(door: &mut Door, objects: &[api::EndpointPort]) -> Vec<EndpointPort> {
    let mut ports: Vec<EndpointPort> = Vec::new();
    for (index, object) in objects.iter().enumerate() {
        let Some(port) = port(door, index, object) else { continue };
        if ports.iter().any(|other| other.name == port.name) {
            door.reject(format!("ports[{index}].name"), format!("\"{}\" names an earlier port too", port.name));
        } else {
            ports.push(port);
        }
    }
    ports
}

fn port(door: &mut Door, index: usize, object: &api::EndpointPort) -> Option<EndpointPort> {
    let protocol = door.protocol(&format!("ports[{index}].protocol"), object.protocol.as_deref());
    let field = format!("ports[{index}].port");
    let Some(number) = object.port else {
        door.reject(field, "is missing; \"all ports\" cannot be served by a Service");
        return None;
    };
    let port = door.port(&field, number);
    Some(EndpointPort { name: object.name.as_deref().unwrap_or_default().into(), protocol: protocol?, port: port? })
}

fn endpoints(door: &mut Door, family: IpFamily, slice: &api::EndpointSlice) -> Vec<Endpoint> {
    let objects = slice.endpoints.as_deref().unwrap_or_default();
    let (mut endpoints, mut taken) = (Vec::with_capacity(objects.len()), HashSet::with_capacity(objects.len()));
    for (index, object) in objects.iter().enumerate() {
        let field = format!("endpoints[{index}].addresses");
        let Some(address) = address(door, &field, family, object) else { continue };
        if taken.insert(address) {
            endpoints.push(endpoint(slice, address, object));
        } else {
            door.reject(field, format!("{address} is the address of an earlier endpoint too; that one is used"));
        }
    }
    endpoints
}

fn address(door: &mut Door, field: &str, family: IpFamily, object: &api::Endpoint) -> Option<IpAddr> {
    let Some(text) = object.addresses.first() else {
        door.reject(field, "is empty; an endpoint has one address");
        return None;
    };
    let address = door.routable_address(&format!("{field}[0]"), text)?;
    if IpFamily::of(address) != family {
        door.reject(format!("{field}[0]"), format!("{address} is not of the slice's addressType"));
        return None;
    }
    Some(address)
}

/// The endpoint as its conditions say; nil means ready, serving, and not terminating (KEP-1672). Whether it serves tells
/// more than whether it is ready only while it terminates.
fn endpoint(slice: &api::EndpointSlice, address: IpAddr, object: &api::Endpoint) -> Endpoint {
    let conditions = object.conditions.as_ref();
    let hints = || object.hints.iter();
    let ready = conditions.and_then(|conditions| conditions.ready).unwrap_or(true);
    let terminating = conditions.and_then(|conditions| conditions.terminating).unwrap_or(false);
    let named = |text: &Option<String>| text.as_deref().filter(|text| !text.is_empty()).map(Name::from);
    let pod = object.target_ref.as_ref().filter(|target| target.kind.as_deref() == Some("Pod"));
    let namespace = |target: Option<&str>| target.or(slice.metadata.namespace.as_deref()).map(Name::from);
    Endpoint {
        address,
        hostname: named(&object.hostname),
        node: named(&object.node_name),
        for_nodes: hints()
            .flat_map(|hints| hints.for_nodes.iter().flatten())
            .map(|node| node.name.as_str().into())
            .collect(),
        for_zones: hints()
            .flat_map(|hints| hints.for_zones.iter().flatten())
            .map(|zone| zone.name.as_str().into())
            .collect(),
        pod: pod.and_then(|target| {
            Some(NamespacedName { namespace: namespace(target.namespace.as_deref())?, name: named(&target.name)? })
        }),
        ready,
        serving: conditions.and_then(|conditions| conditions.serving).unwrap_or(ready || terminating),
        terminating,
    }
}
