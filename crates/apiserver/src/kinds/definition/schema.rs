//! Whether a schema is structural, so that objects can be pruned, completed and merged by it.

use crate::error::FieldError;
use crate::kinds::field::Field;
use crate::schema::structure::{JsonType, Structure};

/// Where in a schema a part of it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    Member,
    Item,
    /// Below `allOf`, `anyOf`, `oneOf` or `not`: values are bounded there, not declared.
    Branch {
        /// Beside `x-kubernetes-int-or-string`, where types may stand.
        may_type: bool,
    },
}

/// What a schema of a whole kind must be and is not.
pub(super) fn validate(schema: &Field<'_>) -> Vec<FieldError> {
    if !schema.is_set() {
        return vec![schema.required("schemas are required")];
    }
    let mut errors = validate_at(schema, Place::Root);
    let kind = schema.get("type");
    if !kind.is_empty() && kind.text() != "object" {
        errors.push(kind.invalid("must be object at the root"));
    }
    errors
}

fn validate_at(schema: &Field<'_>, place: Place) -> Vec<FieldError> {
    let mut errors: Vec<FieldError> = validate_type(schema, place).into_iter().collect();
    errors.extend(validate_members(schema));
    errors.extend(validate_list(schema));
    errors.extend(validate_values(schema));
    for (_, property) in schema.get("properties").entries() {
        errors.extend(validate_at(&property, deeper(place, Place::Member)));
    }
    for (name, place) in [("items", deeper(place, Place::Item)), ("additionalProperties", deeper(place, Place::Member))]
    {
        let below = schema.get(name);
        if below.map().is_some() {
            errors.extend(validate_at(&below, place));
        }
    }
    let branch = Place::Branch { may_type: schema.get("x-kubernetes-int-or-string").truth() };
    for name in ["allOf", "anyOf", "oneOf"] {
        errors.extend(schema.get(name).items().flat_map(|below| validate_at(&below, branch)));
    }
    if schema.get("not").is_set() {
        errors.extend(validate_at(&schema.get("not"), branch));
    }
    errors
}

fn deeper(place: Place, below: Place) -> Place {
    if let Place::Branch { .. } = place { place } else { below }
}

fn validate_type(schema: &Field<'_>, place: Place) -> Option<FieldError> {
    let kind = schema.get("type");
    let int_or_string = schema.get("x-kubernetes-int-or-string").truth();
    let any = int_or_string || schema.get("x-kubernetes-preserve-unknown-fields").truth();
    match (place, kind.is_empty()) {
        (Place::Branch { may_type: false }, false) => Some(kind.forbidden("must be empty to be structural")),
        (Place::Branch { .. }, true) => None,
        (_, true) if any && place != Place::Root => None,
        (Place::Root, true) => Some(kind.required("must not be empty at the root")),
        (Place::Item, true) => Some(kind.required("must not be empty for specified array items")),
        (_, true) => Some(kind.required("must not be empty for specified object fields")),
        (Place::Root | Place::Member | Place::Item, false) if int_or_string => {
            Some(kind.forbidden("must be empty if x-kubernetes-int-or-string is true"))
        }
        (_, false) => kind.one_of(&JsonType::NAMES),
    }
}

fn validate_members(schema: &Field<'_>) -> Vec<FieldError> {
    let (properties, additional) = (schema.get("properties"), schema.get("additionalProperties"));
    let mut errors = Vec::new();
    if !properties.is_empty() && additional.is_set() {
        errors.push(additional.forbidden("additionalProperties and properties are mutual exclusive"));
    }
    if additional.value().is_some_and(|value| *value == false) {
        errors.push(additional.forbidden("additionalProperties cannot be set to false"));
    }
    let reference = schema.get("$ref");
    errors.extend((!reference.is_empty()).then(|| reference.forbidden("$ref is not supported")));
    errors
}

fn validate_list(schema: &Field<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (items, unique) = (schema.get("items"), schema.get("uniqueItems"));
    if schema.get("type").text() == "array" && items.map().is_none() {
        errors.push(items.required("must be specified"));
    }
    if unique.truth() {
        let why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(unique.forbidden(why));
    }
    let (merge, keys) = (schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys"));
    if merge.is_set() {
        errors.extend(merge.one_of(&["atomic", "map", "set"]));
    }
    match (merge.text() == "map", keys.is_empty()) {
        (true, true) => errors.push(keys.required("must not be empty if x-kubernetes-list-type is map")),
        (false, false) => errors.push(merge.invalid("must be map if x-kubernetes-list-map-keys is non-empty")),
        _ => {}
    }
    for key in keys.items() {
        if !items.get("properties").get(key.text()).is_set() {
            errors.push(key.invalid("must be the name of a property of the items"));
        }
    }
    errors
}

/// Patterns must compile and defaults must be values that the schema takes.
fn validate_values(schema: &Field<'_>) -> Vec<FieldError> {
    let (pattern, default) = (schema.get("pattern"), schema.get("default"));
    let mut errors = Vec::new();
    if let Some(problem) = pattern.text_if_set().and_then(|text| regex::Regex::new(text).err()) {
        errors.push(pattern.invalid(format!("must be a valid regular expression, but isn't: {problem}")));
    }
    if let (Some(value), Some(whole)) = (default.value(), schema.value()) {
        let problems = Structure::of_part(whole).map(|structure| structure.check(value, default.path()));
        errors.extend(problems.unwrap_or_default());
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn problems(properties: &Value) -> Vec<String> {
        let schema = json!({ "type": "object", "properties": properties });
        validate(&Field::root(&schema)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_structural_schema_is_fine() {
        let fine = json!({
            "port": { "x-kubernetes-int-or-string": true, "anyOf": [{ "type": "integer" }, { "type": "string" }] },
            "free": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
            "any": { "x-kubernetes-preserve-unknown-fields": true },
            "map": { "type": "object", "additionalProperties": { "type": "string" } },
            "list": { "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": { "type": "object", "properties": { "name": { "type": "string" } } } },
            "mode": { "type": "string", "default": "a", "enum": ["a", "b"] },
        });
        assert_eq!(problems(&fine), [""; 0]);
    }

    #[test]
    fn what_is_not_structural_is_told() {
        let cases = [
            (json!({ "a": { "type": "array" } }), "properties[a].items: Required value: must be specified"),
            (
                json!({ "a": { "type": "object", "anyOf": [{ "type": "object" }] } }),
                "properties[a].anyOf[0].type: Forbidden: must be empty to be structural",
            ),
            (
                json!({ "a": { "type": "object", "additionalProperties": false } }),
                "properties[a].additionalProperties: Forbidden: additionalProperties cannot be set to false",
            ),
            (
                json!({ "a": { "type": "string", "default": 1 } }),
                r#"properties[a].default: Invalid value: "integer": properties[a].default in body must be of type string: "integer""#,
            ),
            (
                json!({ "a": { "type": "text" } }),
                r#"properties[a].type: Unsupported value: "text": supported values: "array", "boolean", "integer", "number", "object", "string""#,
            ),
        ];
        for (properties, expected) in cases {
            assert_eq!(problems(&properties), [expected]);
        }
    }
}
