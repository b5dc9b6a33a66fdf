//! Reading the metadata every object has.

use std::sync::Arc;

use serde_json::Value;

/// The object's name; empty if it has none yet.
pub fn name(object: &Value) -> &str {
    text(object, "name")
}

/// The object's namespace; empty for a cluster-wide object.
pub fn namespace(object: &Value) -> &str {
    text(object, "namespace")
}

/// The object's unique identity; empty if it was never stored.
pub fn uid(object: &Value) -> &str {
    text(object, "uid")
}

/// The version the object was read at; empty if it was never stored.
pub fn resource_version(object: &Value) -> &str {
    text(object, "resourceVersion")
}

/// The identities of its owners, in order.
pub fn owner_uids(object: &Value) -> impl Iterator<Item = &str> {
    let owners = object["metadata"]["ownerReferences"].as_array().map(Vec::as_slice).unwrap_or_default();
    owners.iter().filter_map(|owner| owner["uid"].as_str())
}

/// Namespace and name, the key under which caches and queues know an object.
pub(super) fn key(object: &Value) -> super::ObjectKey {
    super::ObjectKey { namespace: Arc::from(namespace(object)), name: Arc::from(name(object)) }
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}
