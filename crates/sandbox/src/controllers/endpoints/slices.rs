//! Packing endpoints into EndpointSlices with as few writes as possible.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::members::{Family, Member};
use super::triggers::ANNOTATION as TRIGGER_ANNOTATION;
use crate::controllers::{
    kind::Kind,
    write::{Write, to_value},
};

/// Whose slice it is.
pub(super) const MANAGED_BY_LABEL: &str = "endpointslice.kubernetes.io/managed-by";
/// Which Service a slice is for.
pub(super) const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
/// Endpoints in one slice; Kubernetes' default.
const MAX_ENDPOINTS: usize = 100;

/// Endpoints that share a slice: one family, one set of ports.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Group {
    pub(super) family: Family,
    pub(super) ports: Vec<EndpointPort>,
    pub(super) endpoints: Vec<Endpoint>,
}

/// Sorts the members of a Service into groups. `publish_all`: every member counts as ready.
pub(super) fn group_members(members: &[Member], publish_all: bool) -> Vec<Group> {
    let mut groups = Groups::default();
    for member in members {
        let endpoint = Endpoint {
            addresses: vec![member.address.clone()],
            conditions: Some(EndpointConditions {
                ready: Some(publish_all || (member.serving && !member.terminating)),
                serving: Some(member.serving),
                terminating: Some(member.terminating),
            }),
            hostname: member.hostname.clone(),
            node_name: member.node.clone(),
            target_ref: Some(member.target.clone()),
            ..Endpoint::default()
        };
        groups.add(member.family, &member.ports, endpoint);
    }
    groups.into_vec()
}

/// Collects endpoints by family and ports.
#[derive(Default)]
pub(super) struct Groups {
    by_key: BTreeMap<(Family, String), Group>,
}

impl Groups {
    pub(super) fn add(&mut self, family: Family, ports: &[EndpointPort], endpoint: Endpoint) {
        let key = (family, to_value(&ports).to_string());
        let empty = || Group { family, ports: ports.to_vec(), endpoints: Vec::new() };
        self.by_key.entry(key).or_insert_with(empty).endpoints.push(endpoint);
    }

    pub(super) fn into_vec(self) -> Vec<Group> {
        self.by_key.into_values().collect()
    }
}

/// The writes that turn the slices there are into slices of these groups, in the order in which they are safe.
///
/// `template` carries what all slices have in common. A slice keeps the endpoints it has; new ones fill slices that
/// change anyway, then those with room; a slice whose ports are no longer wanted is used again for others.
pub(super) fn plan_slices<'a>(
    present: impl IntoIterator<Item = &'a EndpointSlice>,
    groups: Vec<Group>,
    template: &ObjectMeta,
) -> Vec<Write> {
    let (mut deletes, mut spare, mut matched) = (Vec::new(), Vec::new(), vec![Vec::new(); groups.len()]);
    for slice in present.into_iter().filter(|slice| !slice.is_terminating()) {
        match groups.iter().position(|group| group.holds(slice)) {
            Some(index) => matched[index].push(slice),
            None => spare.push(slice),
        }
    }
    let mut bins: Vec<Bin<'_>> = Vec::new();
    for (group, slices) in groups.into_iter().zip(matched) {
        bins.extend(pack(group, slices));
    }
    // Slices that would be emptied are better used again than deleted while others are made.
    let (filled, emptied): (Vec<_>, Vec<_>) =
        bins.into_iter().partition(|bin| !bin.endpoints.is_empty() || bin.keep_empty);
    spare.extend(emptied.into_iter().filter_map(|bin| bin.slice));
    let mut writes = Vec::new();
    for mut bin in filled {
        if bin.slice.is_none() {
            let usable = spare.iter().position(|slice| slice.address_type == bin.family.name());
            bin.slice = usable.map(|index| spare.remove(index));
        }
        writes.extend(bin.write(template));
    }
    deletes.extend(spare.into_iter().map(Write::delete));
    writes.extend(deletes);
    writes
}

/// What one slice is to hold.
struct Bin<'a> {
    slice: Option<&'a EndpointSlice>,
    family: Family,
    ports: Vec<EndpointPort>,
    endpoints: Vec<Endpoint>,
    /// It differs from what is there already.
    dirty: bool,
    /// It says that there are no endpoints.
    keep_empty: bool,
}

fn pack<'a>(group: Group, slices: Vec<&'a EndpointSlice>) -> Vec<Bin<'a>> {
    let mut missing: BTreeMap<String, Endpoint> =
        group.endpoints.into_iter().map(|endpoint| (identity(&endpoint), endpoint)).collect();
    let keep_empty = missing.is_empty();
    let new_bin = |slice| Bin {
        slice,
        family: group.family,
        ports: group.ports.clone(),
        endpoints: Vec::new(),
        dirty: false,
        keep_empty: false,
    };
    let mut bins: Vec<Bin<'a>> = Vec::new();
    for slice in slices {
        let mut bin = new_bin(Some(slice));
        let known = slice.endpoints.as_deref().unwrap_or_default();
        bin.endpoints = known.iter().filter_map(|endpoint| missing.remove(&identity(endpoint))).collect();
        bin.dirty = bin.endpoints != known;
        bins.push(bin);
    }
    let mut missing: Vec<Endpoint> = missing.into_values().rev().collect();
    // Those that are written anyway first, the fuller ones before the emptier ones.
    bins.sort_by_key(|bin| (!bin.dirty, MAX_ENDPOINTS.saturating_sub(bin.endpoints.len())));
    for bin in &mut bins {
        bin.fill(&mut missing);
    }
    while !missing.is_empty() {
        let mut bin = new_bin(None);
        bin.fill(&mut missing);
        bins.push(bin);
    }
    if keep_empty {
        if bins.is_empty() {
            bins.push(new_bin(None));
        }
        bins[0].keep_empty = true;
    }
    bins
}

impl Bin<'_> {
    fn fill(&mut self, missing: &mut Vec<Endpoint>) {
        while self.endpoints.len() < MAX_ENDPOINTS {
            let Some(endpoint) = missing.pop() else { return };
            self.endpoints.push(endpoint);
            self.dirty = true;
        }
    }

    fn write(&self, template: &ObjectMeta) -> Option<Write> {
        let content = |metadata: ObjectMeta| EndpointSlice {
            metadata,
            address_type: self.family.name().to_owned(),
            endpoints: Some(self.endpoints.clone()),
            ports: Some(self.ports.clone()),
        };
        let Some(slice) = self.slice else { return Some(Write::create(&content(template.clone()))) };
        let mut metadata = slice.metadata.clone();
        metadata.labels.clone_from(&template.labels);
        metadata.annotations.clone_from(&template.annotations);
        // What it followed when it was written last is no reason to write it again.
        if let Some(followed) = slice.annotations().get(TRIGGER_ANNOTATION) {
            metadata.annotations.get_or_insert_default().insert(TRIGGER_ANNOTATION.to_owned(), followed.clone());
        }
        let mut wanted = content(metadata);
        if !self.dirty {
            // Nothing and an empty list mean the same.
            wanted.endpoints.clone_from(&slice.endpoints);
        }
        if self.ports == slice.ports.as_deref().unwrap_or_default() {
            wanted.ports.clone_from(&slice.ports);
        }
        Write::update(slice, &wanted)
    }
}

impl Group {
    /// A placeholder: no endpoints, no ports.
    pub(super) fn empty(family: Family) -> Self {
        Self { family, ports: Vec::new(), endpoints: Vec::new() }
    }

    fn holds(&self, slice: &EndpointSlice) -> bool {
        slice.address_type == self.family.name() && slice.ports.as_deref().unwrap_or_default() == self.ports
    }
}

/// What makes two endpoints the same although their conditions differ.
fn identity(endpoint: &Endpoint) -> String {
    let target = endpoint.target_ref.as_ref().and_then(|target| target.uid.as_deref()).unwrap_or_default();
    format!("{target}/{}", endpoint.addresses.join(","))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ObjectReference;
    use serde_json::json;

    use super::*;

    fn endpoint(number: usize, ready: bool) -> Endpoint {
        Endpoint {
            addresses: vec![format!("10.0.{}.{}", number / 256, number % 256)],
            conditions: Some(EndpointConditions { ready: Some(ready), ..EndpointConditions::default() }),
            target_ref: Some(ObjectReference { uid: Some(format!("{number:04}")), ..ObjectReference::default() }),
            ..Endpoint::default()
        }
    }

    fn ports(number: i32) -> Vec<EndpointPort> {
        vec![EndpointPort { name: Some("http".into()), port: Some(number), ..EndpointPort::default() }]
    }

    fn group(port: i32, members: impl IntoIterator<Item = usize>) -> Group {
        let endpoints = members.into_iter().map(|number| endpoint(number, true)).collect();
        Group { family: Family::V4, ports: ports(port), endpoints }
    }

    fn slice(name: &str, port: i32, members: impl IntoIterator<Item = usize>) -> EndpointSlice {
        let group = group(port, members);
        let metadata = json!({"name": name, "namespace": "shop", "labels": {"a": "b"}});
        EndpointSlice {
            metadata: serde_json::from_value(metadata).unwrap(),
            address_type: "IPv4".into(),
            endpoints: Some(group.endpoints),
            ports: Some(group.ports),
        }
    }

    fn template() -> ObjectMeta {
        ObjectMeta {
            generate_name: Some("web-".into()),
            labels: Some([("a".into(), "b".into())].into()),
            ..ObjectMeta::default()
        }
    }

    /// Each write as its verb, its name and the number of endpoints it leaves.
    fn plan(present: &[EndpointSlice], groups: Vec<Group>) -> Vec<String> {
        let count = |value: &serde_json::Value| value["endpoints"].as_array().map_or(0, Vec::len);
        let describe = |write: &Write| match write {
            Write::Create { object, .. } => format!("create {}", count(object)),
            Write::Patch { key, patch, .. } => format!("patch {} {}", key.name, count(patch)),
            Write::Delete { key, .. } => format!("delete {}", key.name),
        };
        plan_slices(present, groups, &template()).iter().map(describe).collect()
    }

    #[test]
    fn a_hundred_fit_into_a_slice_and_the_rest_into_the_next() {
        assert_eq!(plan(&[], vec![group(80, 0..250)]), ["create 100", "create 100", "create 50"]);
    }

    #[test]
    fn unchanged_slices_are_not_written() {
        assert_eq!(plan(&[slice("a", 80, 0..5)], vec![group(80, (0..5).rev())]), Vec::<String>::new());
    }

    #[test]
    fn a_slice_that_says_what_it_followed_is_not_written_for_that() {
        let mut stamped = slice("a", 80, 0..5);
        stamped.metadata.annotations =
            Some([(TRIGGER_ANNOTATION.to_owned(), "2026-01-01T10:00:00Z".to_owned())].into());
        assert_eq!(plan(&[stamped], vec![group(80, 0..5)]), Vec::<String>::new());
    }

    #[test]
    fn a_changed_condition_touches_only_its_slice() {
        let mut changed = group(80, 0..150);
        changed.endpoints[120] = endpoint(120, false);
        let present = [slice("a", 80, 0..100), slice("b", 80, 100..150)];
        assert_eq!(plan(&present, vec![changed]), ["patch b 50"]);
    }

    #[test]
    fn a_replaced_endpoint_goes_where_the_old_one_was() {
        let present = [slice("a", 80, 0..50), slice("b", 80, 50..60)];
        assert_eq!(plan(&present, vec![group(80, (1..60).chain([70]))]), ["patch a 50"]);
    }

    #[test]
    fn new_endpoints_fill_the_fullest_slice_with_room() {
        let present = [slice("a", 80, 0..100), slice("b", 80, 100..190), slice("c", 80, 200..210)];
        let members = (0..190).chain(200..215);
        assert_eq!(plan(&present, vec![group(80, members)]), ["patch b 95"]);
    }

    #[test]
    fn new_ports_are_written_into_the_slice_of_the_old_ones() {
        assert_eq!(plan(&[slice("a", 80, 0..5)], vec![group(81, 0..6)]), ["patch a 6"]);
    }

    #[test]
    fn the_last_endpoint_leaves_an_empty_slice_behind() {
        let present = [slice("a", 80, 0..1), slice("b", 80, 1..2)];
        assert_eq!(plan(&present, vec![Group::empty(Family::V4)]), ["patch a 0", "delete b"]);
    }

    #[test]
    fn an_empty_slice_is_left_as_it_is() {
        let mut empty = slice("a", 80, 0..0);
        empty.ports = None;
        empty.endpoints = None;
        assert_eq!(plan(&[empty], vec![Group::empty(Family::V4)]), Vec::<String>::new());
    }
}
