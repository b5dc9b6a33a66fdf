//! What the server offers, in all the forms clients ask for it. Pure: made from the registry of kinds and the custom
//! ones there are.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};

use bytes::Bytes;
use serde_json::{Value, json};

use crate::http::negotiate::DiscoveryVersion;
use crate::kinds::{RESOURCES, Resource, Subresource};

/// All discovery documents.
#[derive(Debug)]
pub(crate) struct Discovery {
    /// `/api`.
    pub core_versions: Document,
    /// `/apis`.
    pub groups: Document,
    /// `/apis/GROUP`.
    pub group: BTreeMap<String, Document>,
    /// `/api/v1` and `/apis/GROUP/VERSION`, by group and version.
    pub resources: BTreeMap<(String, String), Document>,
    /// `/api` in one document.
    pub aggregated_core: Aggregated,
    /// `/apis` in one document.
    pub aggregated_groups: Aggregated,
    /// `/`.
    pub paths: Document,
}

/// The aggregated document in each of its versions.
#[derive(Debug)]
pub(crate) struct Aggregated {
    v2: Document,
    v2beta1: Document,
}

/// A document and its fingerprint.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    pub body: Bytes,
    /// Changes when the body does.
    pub etag: String,
}

/// One group.
struct Group {
    name: &'static str,
    /// The preferred one first.
    versions: Vec<Version>,
}

/// The resources of one version of a group.
struct Version {
    name: &'static str,
    resources: Vec<&'static Resource>,
}

impl Document {
    pub fn new(value: &Value) -> Self {
        let body = Bytes::from(value.to_string());
        let etag = fingerprint(&body);
        Self { body, etag }
    }

    pub fn of_text(text: impl Into<Bytes>) -> Self {
        let body = text.into();
        let etag = fingerprint(&body);
        Self { body, etag }
    }

    /// A number that changes when the body does.
    pub fn hash(&self) -> u64 {
        hash(&self.body)
    }
}

impl Aggregated {
    fn new(groups: &[Group]) -> Self {
        let document = |version: DiscoveryVersion| {
            Document::new(&json!({
                "kind": "APIGroupDiscoveryList",
                "apiVersion": format!("apidiscovery.k8s.io/{}", version.name()),
                "metadata": {},
                "items": groups.iter().map(Group::aggregated).collect::<Vec<_>>(),
            }))
        };
        Self { v2: document(DiscoveryVersion::V2), v2beta1: document(DiscoveryVersion::V2Beta1) }
    }

    pub fn in_version(&self, version: DiscoveryVersion) -> &Document {
        match version {
            DiscoveryVersion::V2 => &self.v2,
            DiscoveryVersion::V2Beta1 => &self.v2beta1,
        }
    }
}

impl Discovery {
    /// The documents for the registered and the `custom` kinds; `server` is where clients inside the cluster reach the
    /// API.
    pub fn new(server: &str, custom: &[&'static Resource]) -> Self {
        let (core, named): (Vec<Group>, Vec<Group>) =
            groups(custom).into_iter().partition(|group| group.name.is_empty());
        let core_versions = json!({
            "kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [{ "clientCIDR": "0.0.0.0/0", "serverAddress": server }],
        });
        let list = json!({
            "kind": "APIGroupList", "apiVersion": "v1",
            "groups": named.iter().map(Group::legacy).collect::<Vec<_>>(),
        });
        let group_document = |group: &Group| {
            let mut document = json!({ "kind": "APIGroup", "apiVersion": "v1" });
            merge(&mut document, group.legacy());
            (group.name.to_owned(), Document::new(&document))
        };
        Self {
            core_versions: Document::new(&core_versions),
            groups: Document::new(&list),
            group: named.iter().map(group_document).collect(),
            resources: core.iter().chain(&named).flat_map(Group::resource_lists).collect(),
            aggregated_core: Aggregated::new(&core),
            aggregated_groups: Aggregated::new(&named),
            paths: Document::new(&paths(&named)),
        }
    }
}

impl Group {
    fn legacy(&self) -> Value {
        let versions: Vec<Value> = self
            .versions
            .iter()
            .map(|version| json!({ "groupVersion": self.group_version(version), "version": version.name }))
            .collect();
        json!({ "name": self.name, "versions": versions, "preferredVersion": versions.first() })
    }

    fn group_version(&self, version: &Version) -> String {
        if self.name.is_empty() { version.name.to_owned() } else { format!("{}/{}", self.name, version.name) }
    }

    fn resource_lists(&self) -> impl Iterator<Item = ((String, String), Document)> {
        self.versions.iter().map(|version| {
            let list = version.resource_list(&self.group_version(version));
            ((self.name.to_owned(), version.name.to_owned()), Document::new(&list))
        })
    }

    fn aggregated(&self) -> Value {
        let versions: Vec<Value> = self.versions.iter().map(Version::aggregated).collect();
        let metadata = if self.name.is_empty() { json!({}) } else { json!({ "name": self.name }) };
        json!({ "metadata": metadata, "versions": versions })
    }

    fn version_mut(&mut self, name: &'static str) -> &mut Version {
        let at = self.versions.iter().position(|version| version.name == name).unwrap_or_else(|| {
            self.versions.push(Version { name, resources: Vec::new() });
            self.versions.len() - 1
        });
        &mut self.versions[at]
    }
}

impl Version {
    fn resource_list(&self, group_version: &str) -> Value {
        let entries = self.resources.iter().flat_map(|resource| {
            std::iter::once(legacy_resource(resource))
                .chain(resource.subresources.iter().map(|sub| legacy_subresource(resource, sub)))
        });
        json!({
            "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version,
            "resources": entries.collect::<Vec<_>>(),
        })
    }

    fn aggregated(&self) -> Value {
        let resources: Vec<Value> = self.resources.iter().copied().map(aggregated_resource).collect();
        json!({ "version": self.name, "resources": resources, "freshness": "Current" })
    }
}

/// All kinds by group: the registry's groups in its order, then those that only custom kinds are in, by name.
fn groups(custom: &[&'static Resource]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut custom = custom.to_vec();
    custom.sort_by_key(|resource| resource.group);
    for resource in RESOURCES.iter().chain(custom) {
        let at = groups.iter().position(|group| group.name == resource.group).unwrap_or_else(|| {
            groups.push(Group { name: resource.group, versions: Vec::new() });
            groups.len() - 1
        });
        groups[at].version_mut(resource.version).resources.push(resource);
    }
    for group in &mut groups {
        group.versions.sort_by_key(|version| maturity(version.name));
    }
    groups
}

/// Where a version stands among others: released ones first, then beta, then alpha, newer before older, others last.
fn maturity(version: &str) -> (u8, Reverse<(u64, u64)>, &str) {
    let read = || {
        let (major, rest) = split_number(version.strip_prefix('v')?)?;
        if rest.is_empty() {
            return Some((0, Reverse((major, 0))));
        }
        let (stage, rest) =
            rest.strip_prefix("beta").map(|rest| (1, rest)).or_else(|| Some((2, rest.strip_prefix("alpha")?)))?;
        let (minor, rest) = split_number(rest)?;
        rest.is_empty().then_some((stage, Reverse((major, minor))))
    };
    let (stage, number) = read().unwrap_or((3, Reverse((0, 0))));
    (stage, number, version)
}

fn split_number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

fn legacy_resource(resource: &Resource) -> Value {
    let mut entry = json!({
        "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
        "kind": resource.kind, "verbs": resource.verbs,
    });
    if !resource.short_names.is_empty() {
        entry["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        entry["categories"] = json!(resource.categories);
    }
    entry
}

fn legacy_subresource(resource: &Resource, sub: &Subresource) -> Value {
    let mut entry = json!({
        "name": format!("{}/{}", resource.plural, sub.name), "singularName": "", "namespaced": resource.namespaced,
    });
    if (sub.group, sub.version) != (resource.group, resource.version) {
        entry["group"] = json!(sub.group);
        entry["version"] = json!(sub.version);
    }
    entry["kind"] = json!(sub.kind);
    entry["verbs"] = json!(sub.verbs);
    entry
}

fn aggregated_resource(resource: &Resource) -> Value {
    let response_kind =
        |group: &str, version: &str, kind: &str| json!({ "group": group, "version": version, "kind": kind });
    let mut entry = json!({
        "resource": resource.plural,
        "responseKind": response_kind(resource.group, resource.version, resource.kind),
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular,
        "verbs": resource.verbs,
    });
    if !resource.short_names.is_empty() {
        entry["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        entry["categories"] = json!(resource.categories);
    }
    let subresource = |sub: &Subresource| {
        json!({
            "subresource": sub.name, "responseKind": response_kind(sub.group, sub.version, sub.kind),
            "verbs": sub.verbs,
        })
    };
    if !resource.subresources.is_empty() {
        entry["subresources"] = resource.subresources.iter().map(subresource).collect();
    }
    entry
}

fn paths(named: &[Group]) -> Value {
    let mut paths: Vec<String> = vec!["/api".into(), "/api/v1".into(), "/apis".into()];
    for group in named {
        paths.push(format!("/apis/{}", group.name));
        paths.extend(group.versions.iter().map(|version| format!("/apis/{}/{}", group.name, version.name)));
    }
    let rest = ["/healthz", "/livez", "/openapi/v3", "/openid/v1/jwks", "/readyz", "/version"];
    paths.extend(rest.map(str::to_owned));
    json!({ "paths": paths })
}

fn merge(into: &mut Value, from: Value) {
    if let (Some(into), Value::Object(from)) = (into.as_object_mut(), from) {
        into.extend(from);
    }
}

/// A text that changes when the bytes do.
fn fingerprint(bytes: &[u8]) -> String {
    format!("{:016X}", hash(bytes))
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(document: &Document) -> Value {
        serde_json::from_slice(&document.body).unwrap()
    }

    #[test]
    fn both_forms_list_the_same_resources() {
        let discovery = Discovery::new("10.0.0.1:6443", &[]);
        let aggregated = parse(discovery.aggregated_groups.in_version(DiscoveryVersion::V2));
        let mut in_aggregated = Vec::new();
        for group in aggregated["items"].as_array().unwrap() {
            for resource in group["versions"][0]["resources"].as_array().unwrap() {
                in_aggregated.push(format!("{}/{}", group["metadata"]["name"], resource["resource"]));
            }
        }
        let mut in_legacy = Vec::new();
        for group in parse(&discovery.groups)["groups"].as_array().unwrap() {
            let key = (group["name"].as_str().unwrap().to_owned(), "v1".to_owned());
            for resource in parse(&discovery.resources[&key])["resources"].as_array().unwrap() {
                if !resource["name"].as_str().unwrap().contains('/') {
                    in_legacy.push(format!("{}/{}", group["name"], resource["name"]));
                }
            }
        }
        assert_eq!(in_aggregated, in_legacy);
        assert!(in_legacy.contains(&r#""apps"/"deployments""#.to_owned()));
    }

    #[test]
    fn a_scale_says_whose_kind_it_is() {
        let discovery = Discovery::new("", &[]);
        let apps = parse(&discovery.resources[&("apps".to_owned(), "v1".to_owned())]);
        let scale = apps["resources"].as_array().unwrap().iter().find(|r| r["name"] == "deployments/scale").unwrap();
        assert_eq!(
            (&scale["group"], &scale["version"], &scale["kind"]),
            (&json!("autoscaling"), &json!("v1"), &json!("Scale"))
        );
    }

    #[test]
    fn versions_stand_in_the_order_of_their_maturity() {
        let mut versions = ["foo10", "v1alpha1", "v1", "v10", "v2beta1", "v1beta2", "v11alpha2"];
        versions.sort_by_key(|version| maturity(version));
        assert_eq!(versions, ["v10", "v1", "v2beta1", "v1beta2", "v11alpha2", "v1alpha1", "foo10"]);
    }

    #[test]
    fn the_versions_of_the_aggregated_document_differ_in_name_only() {
        let discovery = Discovery::new("", &[]);
        let version = |version| {
            let mut document = parse(discovery.aggregated_core.in_version(version));
            (document.as_object_mut().unwrap().remove("apiVersion").unwrap(), document)
        };
        let (new, new_body) = version(DiscoveryVersion::V2);
        let (old, old_body) = version(DiscoveryVersion::V2Beta1);
        assert_eq!((new, old), (json!("apidiscovery.k8s.io/v2"), json!("apidiscovery.k8s.io/v2beta1")));
        assert_eq!(new_body, old_body);
    }
}
