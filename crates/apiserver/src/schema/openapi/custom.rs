//! The documents of custom kinds: the schemas their authors wrote, with what every object has.

use serde_json::{Map, Value, json};

use super::{definitions, document, paths};
use crate::kinds::Resource;
use crate::schema::Gvk;
use crate::schema::table::OBJECT_META;

/// The document of one group version, which all of the kinds are of.
pub(super) fn write(kinds: &[&'static Resource]) -> Value {
    let mut schemas = definitions::of_every_kind();
    let mut operations = Map::new();
    for kind in kinds {
        paths::add_resource(kind, &mut operations);
        let name = schema_name(Gvk::new(kind.group, kind.version, kind.kind));
        schemas.insert(name.clone(), schema_of(kind));
        let (group, version) = (kind.group, kind.version);
        schemas.insert(format!("{name}List"), definitions::list_of((&name, kind.kind), group, version));
    }
    document(&operations, &schemas)
}

/// The name of a custom kind's schema: the group backwards, the version, the kind.
pub(super) fn schema_name(gvk: Gvk<'_>) -> String {
    let mut parts: Vec<&str> = gvk.group.split('.').rev().collect();
    parts.extend([gvk.version, gvk.kind]);
    parts.join(".")
}

fn schema_of(kind: &Resource) -> Value {
    let declared = kind.custom.map(|custom| custom.schema.clone()).filter(Value::is_object);
    let mut schema = declared.unwrap_or_else(|| json!({ "type": "object" }));
    let mut properties = Map::new();
    let text = |description: &str| json!({ "type": "string", "description": description });
    properties.insert("apiVersion".into(), text("The version of the object's schema."));
    properties.insert("kind".into(), text("The kind of the object."));
    let metadata = json!({ "allOf": [{ "$ref": format!("#/components/schemas/{OBJECT_META}") }] });
    properties.insert("metadata".into(), metadata);
    if let Some(declared) = schema["properties"].as_object() {
        let own = declared.iter().filter(|(name, _)| !matches!(name.as_str(), "apiVersion" | "kind" | "metadata"));
        properties.extend(own.map(|(name, property)| (name.clone(), property.clone())));
    }
    schema["properties"] = Value::Object(properties);
    schema["x-kubernetes-group-version-kind"] =
        json!([{ "group": kind.group, "version": kind.version, "kind": kind.kind }]);
    schema
}
