//! What becomes of an object between a client's request and the store.

use serde_json::{Value, json};

use super::fill::{Fill, Object};
use super::{Generation, Resource};

/// Metadata that only the server writes, kept from the stored object on every update.
const KEPT_IF_SET: &[&str] = &["creationTimestamp", "deletionTimestamp", "generation", "selfLink"];
/// Metadata taken from the stored object when the request leaves it out.
const KEPT_IF_OMITTED: &[&str] = &["uid", "deletionGracePeriodSeconds"];

/// Makes a new object what the store will hold.
pub(super) fn create(resource: &Resource, object: &mut Object) {
    default(resource, object);
    let metadata = object.object("metadata");
    for server_owned in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
        metadata.remove(server_owned);
    }
    if resource.rules.generation != Generation::Absent {
        metadata.insert("generation".into(), json!(1));
    }
    (resource.rules.prepare_create)(object);
    if let Some(status) = (resource.rules.initial_status)(object) {
        object.insert("status".into(), status);
    }
    if resource.custom.is_some() && resource.subresource("status").is_some() {
        object.remove("status");
    }
}

fn default(resource: &Resource, object: &mut Object) {
    match resource.custom {
        None => (resource.rules.default)(object),
        Some(custom) => custom.structure.fill_default_members(object),
    }
}

/// Makes a changed object what the store will hold.
pub(super) fn update(resource: &Resource, new: &mut Object, old: &Object, subresource: Option<&str>) {
    default(resource, new);
    keep_server_metadata(new.object("metadata"), metadata_of(old));
    keep_what_is_not_written(resource, new, old, subresource);
    (resource.rules.settle_update)(new, old, subresource);
    if resource.rules.generation != Generation::Absent {
        let generation = metadata_of(old).and_then(|metadata| metadata.get("generation")?.as_i64()).unwrap_or(0);
        let counted = generation + i64::from(changed(resource.rules.generation, new, old));
        new.object("metadata").insert("generation".into(), json!(counted));
    }
}

fn metadata_of(object: &Object) -> Option<&Object> {
    object.get("metadata").and_then(Value::as_object)
}

fn keep_server_metadata(new: &mut Object, old: Option<&Object>) {
    let Some(old) = old else { return };
    for &name in KEPT_IF_SET {
        if let Some(value) = old.get(name) {
            new.insert(name.into(), value.clone());
        }
    }
    for &name in KEPT_IF_OMITTED {
        if let Some(value) = old.get(name) {
            new.fill(name, value.clone());
        }
    }
}

/// Puts back what the path written to may not change.
fn keep_what_is_not_written(resource: &Resource, new: &mut Object, old: &Object, subresource: Option<&str>) {
    match subresource {
        None if resource.subresource("status").is_some() => copy(new, old, "status"),
        None => {}
        Some("status") => {
            for name in content_names(old) {
                copy(new, old, name);
            }
        }
        Some("finalize") => keep_all_of_spec_but(new, old, "finalizers"),
        Some("ephemeralcontainers") => keep_all_of_spec_but(new, old, "ephemeralContainers"),
        Some(_) => copy(new, old, "status"),
    }
}

fn keep_all_of_spec_but(new: &mut Object, old: &Object, written: &str) {
    let value = new.object("spec").remove(written);
    copy(new, old, "spec");
    copy(new, old, "status");
    match value {
        Some(value) => drop(new.object("spec").insert(written.to_owned(), value)),
        None => drop(new.object("spec").remove(written)),
    }
}

fn copy(new: &mut Object, old: &Object, name: &str) {
    match old.get(name) {
        Some(value) => drop(new.insert(name.to_owned(), value.clone())),
        None => drop(new.remove(name)),
    }
}

/// Whether the two differ in what the generation counts.
fn changed(generation: Generation, new: &Object, old: &Object) -> bool {
    let counted_metadata = match generation {
        Generation::Absent => return false,
        Generation::Content => None,
        Generation::ContentAndAnnotations => Some("annotations"),
        Generation::ContentAndLabels => Some("labels"),
    };
    let value = |object, name| metadata_of(object).and_then(|metadata| metadata.get(name));
    let metadata_changed = counted_metadata.is_some_and(|name| !same(value(new, name), value(old, name)));
    let mut names = content_names(new).chain(content_names(old));
    metadata_changed || names.any(|name| !same(new.get(name), old.get(name)))
}

/// The names of everything but metadata and status.
fn content_names(object: &Object) -> impl Iterator<Item = &String> {
    object.keys().filter(|name| !matches!(name.as_str(), "metadata" | "status" | "kind" | "apiVersion"))
}

/// Equality that takes nothing and an empty list or map for the same.
pub(super) fn same(a: Option<&Value>, b: Option<&Value>) -> bool {
    match (a, b) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let names = a.keys().chain(b.keys());
            names.into_iter().all(|name| same(a.get(name), b.get(name)))
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(Some(a), Some(b)))
        }
        (Some(a), Some(b)) => a == b,
        (Some(only), None) | (None, Some(only)) => is_nothing(only),
        (None, None) => true,
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::kinds::{Resource, resource};

    fn deployments() -> &'static Resource {
        resource("apps", "v1", "deployments").expect("deployments are served")
    }

    fn updated(resource: &Resource, mut new: Value, old: &Value, subresource: Option<&str>) -> Value {
        resource.prepare_update(&mut new, old, subresource);
        new
    }

    #[test]
    fn what_the_server_owns_cannot_be_created() {
        let mut map = json!({"metadata": {"name": "a", "deletionTimestamp": "t", "selfLink": "x"}});
        let maps = resource("", "v1", "configmaps").expect("config maps are served");
        maps.prepare_create(&mut map);
        assert_eq!(map, json!({"metadata": {"name": "a"}}));
    }

    #[test]
    fn a_status_write_changes_nothing_but_the_status() {
        let old = json!({"metadata": {"name": "a", "generation": 3}, "spec": {"nodeName": "x"}, "status": {"phase": "Pending"}});
        let new = json!({"metadata": {"name": "a"}, "spec": {"nodeName": "y"}, "status": {"phase": "Running"}});
        let pods = resource("", "v1", "pods").expect("pods are served");
        let written = updated(pods, new, &old, Some("status"));
        assert_eq!(written["spec"], old["spec"]);
        assert_eq!(written["status"]["phase"], "Running");
        assert_eq!(written["metadata"]["generation"], 3);
    }

    #[test]
    fn an_ordinary_write_leaves_the_status_alone() {
        let old = json!({"metadata": {"generation": 1}, "spec": {"replicas": 1}, "status": {"replicas": 1}});
        let new = json!({"metadata": {}, "spec": {"replicas": 2}, "status": {"replicas": 7}});
        let written = updated(deployments(), new, &old, None);
        assert_eq!(written["status"], json!({"replicas": 1}));
        assert_eq!(written["metadata"]["generation"], 2);
    }

    #[test]
    fn labels_do_not_make_a_generation_and_a_deployments_annotations_do() {
        let mut old = json!({"metadata": {"generation": 1}, "spec": {"replicas": 1}});
        deployments().prepare_create(&mut old);
        let with = |name: &str| {
            let mut new = old.clone();
            new["metadata"][name] = json!({"a": "b"});
            updated(deployments(), new, &old, None)["metadata"]["generation"].clone()
        };
        assert_eq!(with("labels"), 1);
        assert_eq!(with("annotations"), 2);
    }

    #[test]
    fn an_empty_map_is_no_change() {
        let mut old = json!({"metadata": {"generation": 1}, "spec": {"replicas": 1, "selector": {}}});
        deployments().prepare_create(&mut old);
        let mut new = old.clone();
        new["spec"]["selector"]["matchLabels"] = json!({});
        assert_eq!(updated(deployments(), new, &old, None)["metadata"]["generation"], 1);
    }

    #[test]
    fn server_metadata_survives_a_replacement() {
        let old = json!({"metadata": {"name": "a", "uid": "u", "creationTimestamp": "t", "deletionTimestamp": "d"}});
        let maps = resource("", "v1", "configmaps").expect("config maps are served");
        assert_eq!(updated(maps, json!({"metadata": {"name": "a"}}), &old, None), old);
    }

    #[test]
    fn finalizing_a_namespace_writes_its_finalizers_only() {
        let old = json!({"metadata": {"name": "a", "labels": {"kubernetes.io/metadata.name": "a"}},
            "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Terminating"}});
        let mut new = old.clone();
        new["spec"]["finalizers"] = json!([]);
        new["status"]["phase"] = json!("Active");
        let namespaces = resource("", "v1", "namespaces").expect("namespaces are served");
        let written = updated(namespaces, new, &old, Some("finalize"));
        assert_eq!(written["spec"], json!({"finalizers": []}));
        assert_eq!(written["status"], json!({"phase": "Terminating"}));
    }
}
