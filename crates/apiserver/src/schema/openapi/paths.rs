//! The operations of a document.

use serde_json::{Map, Value, json};

use super::custom::schema_name;
use crate::kinds::{RESOURCES, Resource, Subresource};
use crate::schema::Gvk;
use crate::schema::table::Message;

/// The last one is not for custom kinds, whose lists have no merge keys; kubectl looks here which patch to send.
const PATCH_TYPES: [&str; 4] = [
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];
const BODY_TYPES: [&str; 3] = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

/// The paths of a group version's resources and their subresources.
pub(super) fn of_group_version(group: &str, version: &str) -> Map<String, Value> {
    let mut paths = Map::new();
    for resource in RESOURCES.iter().filter(|stored| stored.group == group && stored.version == version) {
        add_resource(resource, &mut paths);
    }
    paths
}

pub(super) fn add_resource(resource: &Resource, paths: &mut Map<String, Value>) {
    let group_version = super::path_of(resource.group, resource.version);
    let scope = if resource.namespaced { "namespaces/{namespace}/" } else { "" };
    let collection = format!("/{group_version}/{scope}{}", resource.plural);
    let is_custom = resource.custom.is_some();
    let own = Exchanged { group: resource.group, version: resource.version, kind: resource.kind, is_custom };
    let operations = |on: On| path_item(resource, &own, resource.verbs, on);
    paths.insert(collection.clone(), operations(On::Collection));
    paths.insert(format!("{collection}/{{name}}"), operations(On::Object));
    if resource.namespaced {
        let everywhere = json!({ "get": operation(&own, "list"), "parameters": [] });
        paths.insert(format!("/{group_version}/{}", resource.plural), everywhere);
    }
    for subresource in resource.subresources {
        let Subresource { group, version, kind, verbs, .. } = *subresource;
        let item = path_item(
            resource,
            &Exchanged { group, version, kind, is_custom: is_custom && kind == resource.kind },
            verbs,
            On::Subresource,
        );
        paths.insert(format!("{collection}/{{name}}/{}", subresource.name), item);
    }
}

/// The object that is sent and answered at a path.
struct Exchanged {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    is_custom: bool,
}

fn patch_types(exchanged: &Exchanged) -> &'static [&'static str] {
    let [common @ .., _] = &PATCH_TYPES;
    if exchanged.is_custom { common } else { &PATCH_TYPES }
}

/// What a path names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum On {
    Collection,
    Object,
    Subresource,
}

fn path_item(resource: &Resource, exchanged: &Exchanged, verbs: &[&str], on: On) -> Value {
    let mut item = Map::new();
    for verb in verbs {
        let method = match (*verb, on) {
            ("list", On::Collection) | ("get", On::Object | On::Subresource) => "get",
            ("create", On::Collection | On::Subresource) => "post",
            ("deletecollection", On::Collection) | ("delete", On::Object) => "delete",
            ("update", On::Object | On::Subresource) => "put",
            ("patch", On::Object | On::Subresource) => "patch",
            _ => continue,
        };
        item.insert(method.into(), operation(exchanged, verb));
    }
    let mut parameters = Vec::new();
    if on != On::Collection {
        parameters.push(path_parameter("name", &format!("name of the {}", resource.kind)));
    }
    if resource.namespaced {
        parameters.push(path_parameter("namespace", "object name and auth scope, such as for teams and projects"));
    }
    item.insert("parameters".into(), Value::Array(parameters));
    Value::Object(item)
}

fn operation(exchanged: &Exchanged, verb: &str) -> Value {
    let Exchanged { group, version, kind, .. } = exchanged;
    let is_write = matches!(verb, "create" | "update" | "patch");
    let answered = if verb == "list" { format!("{kind}List") } else { (*kind).to_owned() };
    let mut operation = json!({
        "description": format!("{verb} {kind}"),
        "parameters": query_parameters(verb),
        "responses": { "200": { "description": "OK", "content": content(&BODY_TYPES, &schema_of(exchanged, &answered)) } },
        "x-kubernetes-action": action(verb),
        "x-kubernetes-group-version-kind": { "group": group, "version": version, "kind": kind },
    });
    if is_write {
        let (types, schema) = match verb {
            "patch" => (patch_types(exchanged), json!({ "type": "object", "description": "the patch" })),
            _ => (&BODY_TYPES[..], schema_of(exchanged, kind)),
        };
        operation["requestBody"] = json!({ "required": true, "content": content(types, &schema) });
    }
    operation
}

/// What OpenAPI readers call the verb.
fn action(verb: &str) -> &str {
    match verb {
        "create" => "post",
        "update" => "put",
        verb => verb,
    }
}

fn schema_of(exchanged: &Exchanged, kind: &str) -> Value {
    let base = kind.strip_suffix("List").unwrap_or(kind);
    match Message::of_kind(Gvk::new(exchanged.group, exchanged.version, base)) {
        Some(message) if !base.ends_with("Options") => {
            let list = if base == kind { "" } else { "List" };
            json!({ "$ref": format!("#/components/schemas/{}{list}", message.name) })
        }
        _ if exchanged.is_custom => {
            json!({ "$ref": format!("#/components/schemas/{}", schema_name(Gvk::new(exchanged.group, exchanged.version, kind))) })
        }
        _ => json!({ "type": "string" }),
    }
}

fn content(media_types: &[&str], schema: &Value) -> Value {
    media_types
        .iter()
        .map(|media_type| ((*media_type).to_owned(), json!({ "schema": schema })))
        .collect::<Map<_, _>>()
        .into()
}

fn query_parameters(verb: &str) -> Value {
    let names: &[(&str, &str, &str)] = match verb {
        "create" | "update" => &[DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION],
        "patch" => &[DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION, FORCE],
        "delete" => &[DRY_RUN, GRACE_PERIOD, PROPAGATION],
        "deletecollection" => &[DRY_RUN, FIELD_SELECTOR, LABEL_SELECTOR, GRACE_PERIOD, PROPAGATION],
        "list" => &[CONTINUE, FIELD_SELECTOR, LABEL_SELECTOR, LIMIT, RESOURCE_VERSION, TIMEOUT, BOOKMARKS, WATCH],
        _ => &[],
    };
    names.iter().map(|(name, kind, description)| {
        json!({ "name": name, "in": "query", "description": description, "schema": { "type": kind, "uniqueItems": true } })
    }).collect()
}

fn path_parameter(name: &str, description: &str) -> Value {
    json!({ "name": name, "in": "path", "required": true, "description": description, "schema": { "type": "string", "uniqueItems": true } })
}

const DRY_RUN: (&str, &str, &str) = ("dryRun", "string", "`All` checks the request without storing anything");
const FIELD_MANAGER: (&str, &str, &str) = ("fieldManager", "string", "who owns the fields that change");
const FIELD_VALIDATION: (&str, &str, &str) =
    ("fieldValidation", "string", "what to do about unknown and repeated fields: Ignore, Warn or Strict");
const FORCE: (&str, &str, &str) = ("force", "boolean", "take over fields that other managers own; for apply patches");
const GRACE_PERIOD: (&str, &str, &str) = ("gracePeriodSeconds", "integer", "how long the object may take to end");
const PROPAGATION: (&str, &str, &str) =
    ("propagationPolicy", "string", "what becomes of dependents: Background, Foreground or Orphan");
const CONTINUE: (&str, &str, &str) = ("continue", "string", "the token of the page before");
const FIELD_SELECTOR: (&str, &str, &str) = ("fieldSelector", "string", "only objects with these field values");
const LABEL_SELECTOR: (&str, &str, &str) = ("labelSelector", "string", "only objects with these labels");
const LIMIT: (&str, &str, &str) = ("limit", "integer", "at most this many objects in one page");
const RESOURCE_VERSION: (&str, &str, &str) = ("resourceVersion", "string", "the revision to read or watch from");
const TIMEOUT: (&str, &str, &str) = ("timeoutSeconds", "integer", "how long a watch lasts");
const BOOKMARKS: (&str, &str, &str) = ("allowWatchBookmarks", "boolean", "send bookmark events");
const WATCH: (&str, &str, &str) = ("watch", "boolean", "follow changes instead of listing");
