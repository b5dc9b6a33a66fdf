//! Nodes at the door.

use ipnet::IpNet;
use k8s_openapi::api::core::v1 as api;

use super::load_balancer::created;
use super::{Admitted, Door, Repeated, labels};
use crate::{Node, ObjectKind, reserved_part};

/// The taint of a node that the cluster's autoscaler is about to delete (KEP-3836).
const LEAVING_TAINT: &str = "ToBeDeletedByClusterAutoscaler";

/// Admits a Node.
///
/// A node without an InternalIP or without a pod range is a fact: both come later in a node's life.
pub fn node(object: &api::Node) -> Admitted<Node> {
    let mut door = Door::new(ObjectKind::Node, &object.metadata);
    let Some(name) = door.name(&object.metadata) else { return door.admit(None) };
    let addresses = addresses(&mut door, object);
    let (pod_cidrs, has_refused_range) = pod_cidrs(&mut door, object);
    let fact = Node {
        name,
        uid: object.metadata.uid.as_deref().unwrap_or_default().into(),
        addresses,
        pod_cidrs,
        has_refused_range,
        leaving: is_leaving(object),
        created: created(&object.metadata),
        labels: labels(&object.metadata),
    };
    door.admit(Some(fact))
}

fn is_leaving(object: &api::Node) -> bool {
    let mut taints = object.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    object.metadata.deletion_timestamp.is_some() || taints.any(|taint| taint.key == LEAVING_TAINT)
}

fn addresses(door: &mut Door, object: &api::Node) -> Vec<std::net::IpAddr> {
    let listed = object.status.iter().flat_map(|status| status.addresses.iter().flatten()).enumerate();
    let internal = listed.filter(|(_, address)| address.type_ == "InternalIP");
    let texts: Vec<(String, &str)> = internal
        .map(|(index, address)| (format!("status.addresses[{index}].address"), address.address.as_str()))
        .collect();
    door.routable_addresses(texts, Repeated::Family)
}

/// The ranges of its pods, and whether some were refused.
fn pod_cidrs(door: &mut Door, object: &api::Node) -> (Vec<IpNet>, bool) {
    let Some(spec) = &object.spec else { return (Vec::new(), false) };
    let texts = match (&spec.pod_cidrs, spec.pod_cidr.as_deref()) {
        (Some(many), _) if !many.is_empty() => super::indexed("spec.podCIDRs", many.iter().map(String::as_str)),
        (_, Some(one)) if !one.is_empty() => vec![("spec.podCIDR".to_owned(), one)],
        _ => Vec::new(),
    };
    let count = texts.len();
    let mut nets: Vec<IpNet> = Vec::new();
    for (field, text) in texts {
        let Some(net) = pod_cidr(door, &field, text) else { continue };
        if nets.iter().any(|other| other.network().is_ipv4() == net.network().is_ipv4()) {
            door.reject(field, format!("{net} is a second range of its family; one is used"));
        } else {
            nets.push(net);
        }
    }
    let has_refused = nets.len() < count;
    (nets, has_refused)
}

/// A range that pods can have addresses of. All nodes route it to this one: with a /0 none would reach anything else.
fn pod_cidr(door: &mut Door, field: &str, text: &str) -> Option<IpNet> {
    let net = door.range(field, text)?;
    let Some((reserved, what)) = reserved_part(net) else { return Some(net) };
    door.reject(
        field,
        format!("{net} overlaps {reserved}, {what}; it must be a range that pods can have addresses of"),
    );
    None
}
