//! Pods and namespaces at the door.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as api;

use super::{Admitted, Door, Repeated, indexed, labels};
use crate::{Name, ObjectKind, Pod};

/// Admits a Pod.
pub fn pod(object: &api::Pod) -> Admitted<Pod> {
    let mut door = Door::new(ObjectKind::Pod, &object.metadata);
    let Some(name) = door.namespaced_name(&object.metadata) else { return door.admit(None) };
    let addresses = addresses(&mut door, object);
    let phase = object.status.as_ref().and_then(|status| status.phase.as_deref());
    let finished = matches!(phase, Some("Succeeded" | "Failed"));
    door.admit(Some(Pod { name, addresses, finished }))
}

fn addresses(door: &mut Door, object: &api::Pod) -> Vec<std::net::IpAddr> {
    let Some(status) = &object.status else { return Vec::new() };
    let texts = match (&status.pod_ips, &status.pod_ip) {
        (Some(many), _) if !many.is_empty() => indexed("status.podIPs", many.iter().map(|ip| ip.ip.as_str())),
        (_, Some(one)) if !one.is_empty() => vec![("status.podIP".to_owned(), one.as_str())],
        _ => Vec::new(),
    };
    door.routable_addresses(texts, Repeated::Family)
}

/// Admits a Namespace: its name and labels.
pub fn namespace(object: &api::Namespace) -> Admitted<(Name, BTreeMap<Name, Name>)> {
    let mut door = Door::new(ObjectKind::Namespace, &object.metadata);
    let fact = door.name(&object.metadata).map(|name| (name, labels(&object.metadata)));
    door.admit(fact)
}
