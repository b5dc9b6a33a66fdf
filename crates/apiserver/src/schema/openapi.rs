//! OpenAPI v3 documents, one for each group version.
//!
//! kubectl reads them for `explain`, to merge by key in `apply`, and to learn that the server validates fields.

mod custom;
mod definitions;
mod paths;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{LazyLock, OnceLock};

use serde_json::{Map, Value, json};

use crate::kinds::{RESOURCES, Resource};

/// Group versions without stored kinds, whose objects are only asked questions with.
const ONLY_REVIEWED: [(&str, &str); 3] =
    [("authentication.k8s.io", "v1"), ("authorization.k8s.io", "v1"), ("autoscaling", "v1")];

static DOCUMENTS: LazyLock<BTreeMap<String, Document>> = LazyLock::new(|| {
    let stored = RESOURCES.iter().map(|resource| (resource.group, resource.version));
    stored
        .chain(ONLY_REVIEWED)
        .map(|gv| (path_of(gv.0, gv.1), Document { group_version: gv, text: OnceLock::new() }))
        .collect()
});

/// A document, written when it is first asked for: the largest takes a few milliseconds and a megabyte.
struct Document {
    group_version: (&'static str, &'static str),
    text: OnceLock<String>,
}

/// The index at `/openapi/v3`: where the document of each group version is. `custom` are the paths of documents beside
/// the built-in ones, with a number that changes when the document does.
pub fn openapi_index<'a>(custom: impl IntoIterator<Item = (&'a str, u64)>) -> Value {
    let entry = |(path, hash): (&str, u64)| {
        (path.to_owned(), json!({ "serverRelativeURL": format!("/openapi/v3/{path}?hash={hash:016X}") }))
    };
    let built_in = DOCUMENTS.keys().map(|path| (path.as_str(), hash_of(path)));
    json!({ "paths": built_in.chain(custom).map(entry).collect::<Map<_, _>>() })
}

/// The documents of the custom kinds' group versions, by path.
pub(crate) fn custom_documents(kinds: &[&'static Resource]) -> BTreeMap<String, String> {
    let mut by_path: BTreeMap<String, Vec<&'static Resource>> = BTreeMap::new();
    for kind in kinds {
        by_path.entry(path_of(kind.group, kind.version)).or_default().push(kind);
    }
    by_path.into_iter().map(|(path, kinds)| (path, custom::write(&kinds).to_string())).collect()
}

/// The document at `/openapi/v3/` followed by `path`, such as `api/v1` or `apis/apps/v1`, as JSON text.
pub fn openapi_document(path: &str) -> Option<&'static str> {
    let document = DOCUMENTS.get(path)?;
    Some(document.text.get_or_init(|| write(document.group_version).to_string()))
}

fn write((group, version): (&'static str, &'static str)) -> Value {
    document(&paths::of_group_version(group, version), &definitions::of_group_version(group, version))
}

fn document(paths: &Map<String, Value>, schemas: &Map<String, Value>) -> Value {
    json!({
        "openapi": "3.0.0",
        "info": { "title": "Kubernetes", "version": concat!("fairway-", env!("CARGO_PKG_VERSION")) },
        "paths": paths,
        "components": { "schemas": schemas },
    })
}

fn path_of(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// Changes when the document does: both are made of the program's own tables.
fn hash_of(path: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (path, env!("CARGO_PKG_VERSION"), super::table::SOURCE).hash(&mut hasher);
    RESOURCES.iter().for_each(|resource| (resource.kind, resource.verbs).hash(&mut hasher));
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(path: &str) -> Value {
        serde_json::from_str(openapi_document(path).unwrap()).unwrap()
    }

    /// All `$ref`s in a document.
    fn references(value: &Value) -> Vec<String> {
        match value {
            Value::Object(members) => members
                .iter()
                .flat_map(|(key, member)| match member {
                    Value::String(target) if key == "$ref" => vec![target.clone()],
                    member => references(member),
                })
                .collect(),
            Value::Array(items) => items.iter().flat_map(references).collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn every_reference_of_every_document_leads_somewhere() {
        for path in DOCUMENTS.keys() {
            let document = document(path);
            for reference in references(&document) {
                let pointer = reference.trim_start_matches('#');
                assert!(document.pointer(pointer).is_some(), "{path}: {reference}");
            }
        }
    }

    #[test]
    fn every_stored_kind_can_be_patched_with_field_validation() {
        for resource in RESOURCES.iter().filter(|resource| resource.allows("patch")) {
            let document = document(&path_of(resource.group, resource.version));
            let gvk = json!({ "group": resource.group, "version": resource.version, "kind": resource.kind });
            let mut operations = document["paths"].as_object().unwrap().values().map(|path| &path["patch"]);
            let patch = operations.find(|patch| patch["x-kubernetes-group-version-kind"] == gvk).unwrap();
            let parameters = patch["parameters"].as_array().unwrap();
            assert!(parameters.iter().any(|parameter| parameter["name"] == "fieldValidation"), "{gvk}");
            let schemas = document["components"]["schemas"].as_object().unwrap();
            let is_of_kind = |schema: &&Value| schema["x-kubernetes-group-version-kind"] == json!([gvk]);
            assert_eq!(schemas.values().filter(is_of_kind).count(), 1, "{gvk}");
        }
    }

    #[test]
    fn merge_keys_and_list_types_are_told() {
        let ports =
            &document("api/v1")["components"]["schemas"]["io.k8s.api.core.v1.ServiceSpec"]["properties"]["ports"];
        assert_eq!(ports["x-kubernetes-patch-strategy"], "merge");
        assert_eq!(ports["x-kubernetes-patch-merge-key"], "port");
        assert_eq!(ports["x-kubernetes-list-type"], "map");
        assert_eq!(ports["x-kubernetes-list-map-keys"], json!(["port", "protocol"]));
    }

    #[test]
    fn the_index_names_every_document() {
        let index = openapi_index([("apis/example.com/v1", 7)]);
        assert_eq!(
            index["paths"]["apis/example.com/v1"]["serverRelativeURL"],
            "/openapi/v3/apis/example.com/v1?hash=0000000000000007"
        );
        let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap();
        assert!(url.starts_with("/openapi/v3/apis/apps/v1?hash="), "{url}");
        assert!(openapi_document("apis/nothing/v1").is_none());
    }
}
