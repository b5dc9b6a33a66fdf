//! CustomResourceDefinitions: what they must be, and what the server says of them.

mod schema;
mod status;

use serde_json::Value;

use super::custom::{DEFINITIONS_GROUP, JsonPath};
use super::field::Field;
use super::fill::{Fill, Object};
use super::metadata::immutable;
use super::names::{label, subdomain};
use super::registry::RESOURCES;
use super::{Generation, Rules};
use crate::error::FieldError;
use crate::table;
pub(crate) use status::{is_established, mark_terminating, settle_status};

pub(super) static RULES: Rules = Rules {
    generation: Generation::Content,
    default: default_definition,
    validate: validate_definition,
    printer: table::access::CREATED_AT,
    ..Rules::PLAIN
};

const SCOPES: &[&str] = &["Cluster", "Namespaced"];
const COLUMN_TYPES: &[&str] = &["boolean", "date", "integer", "number", "string"];
/// Groups that only Kubernetes itself may define kinds in, unless it says it approved of them.
const PROTECTED: [&str; 2] = ["k8s.io", "kubernetes.io"];
const APPROVAL: &str = "api-approved.kubernetes.io";
const CEL: &str = "x-kubernetes-validations";

/// Whether a kind is CustomResourceDefinition.
pub(crate) fn is_definition(group: &str, plural: &str) -> bool {
    group == DEFINITIONS_GROUP && plural == "customresourcedefinitions"
}

/// What the author of a definition should know and would not see.
pub(crate) fn warnings(definition: &Value) -> Vec<String> {
    let versions = definition["spec"]["versions"].as_array().into_iter().flatten();
    let with_rules = versions.filter(|version| has_rules(&version["schema"]));
    let warning = |version: &Value| {
        let name = version["name"].as_str().unwrap_or_default();
        format!("version {name}: {CEL} are stored, and not evaluated by this server")
    };
    with_rules.map(warning).collect()
}

fn has_rules(schema: &Value) -> bool {
    match schema {
        Value::Object(members) => members.iter().any(|(name, member)| name == CEL || has_rules(member)),
        Value::Array(items) => items.iter().any(has_rules),
        _ => false,
    }
}

fn default_definition(definition: &mut Object) {
    let spec = definition.object("spec");
    spec.object("conversion").fill_text("strategy", "None");
    let names = spec.object("names");
    let kind = names.text("kind").to_owned();
    names.fill_text("singular", &kind.to_lowercase());
    names.fill_text("listKind", &format!("{kind}List"));
}

fn validate_definition(definition: &Field<'_>, old: &Field<'_>) -> Vec<FieldError> {
    let spec = definition.get("spec");
    let mut errors = validate_group(definition, &spec.get("group"));
    errors.extend(validate_names(definition, &spec));
    errors.extend(spec.get("scope").one_of(SCOPES));
    let conversion = spec.get("conversion").get("strategy");
    if conversion.text() == "Webhook" {
        errors.push(conversion.not_supported(&["None"]));
    }
    if spec.get("preserveUnknownFields").truth() {
        errors.push(spec.get("preserveUnknownFields").invalid(
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
        ));
    }
    errors.extend(validate_versions(&spec.get("versions")));
    if old.is_set() {
        let old = old.get("spec");
        errors.extend(["group", "scope"].iter().filter_map(|name| immutable(&spec.get(name), &old.get(name))));
        let names = ["plural", "kind"];
        let changed = |name: &&str| immutable(&spec.get("names").get(name), &old.get("names").get(name));
        errors.extend(names.iter().filter_map(changed));
    }
    errors
}

fn validate_group(definition: &Field<'_>, group: &Field<'_>) -> Vec<FieldError> {
    if group.is_empty() {
        return vec![group.required("")];
    }
    let mut errors: Vec<FieldError> = group.malformed(subdomain).collect();
    if !group.text().contains('.') {
        errors.push(group.invalid("should be a domain with at least one dot"));
    }
    let is_below = |domain: &&str| group.text() == *domain || group.text().ends_with(&format!(".{domain}"));
    let approval = definition.get("metadata").get("annotations").key(APPROVAL);
    if PROTECTED.iter().any(is_below) && approval.is_empty() {
        errors.push(approval.required("protected groups must have approval annotation"));
    }
    errors
}

fn validate_names(definition: &Field<'_>, spec: &Field<'_>) -> Vec<FieldError> {
    let (names, name) = (spec.get("names"), definition.get("metadata").get("name"));
    let mut errors = Vec::new();
    for required in ["plural", "kind"] {
        errors.extend(names.get(required).is_empty().then(|| names.get(required).required("")));
    }
    for lower in ["plural", "singular"] {
        let field = names.get(lower);
        errors.extend((!field.is_empty()).then(|| field.malformed(label)).into_iter().flatten());
    }
    for capital in ["kind", "listKind"] {
        let field = names.get(capital);
        let wrong = label(&field.text().to_lowercase());
        errors.extend(wrong.into_iter().filter(|_| !field.is_empty()).map(|wrong| field.invalid(wrong)));
    }
    for list in ["shortNames", "categories"] {
        let fields = names.get(list);
        errors.extend(fields.items().flat_map(|field| field.malformed(label).collect::<Vec<_>>()));
    }
    let (plural, group) = (names.get("plural"), spec.get("group").text());
    // Its objects would be stored among those of the built-in kind, and end with the definition.
    let is_built_in = RESOURCES.iter().any(|resource| (resource.group, resource.plural) == (group, plural.text()));
    errors.extend(is_built_in.then(|| plural.invalid(format!("is a built-in resource of the group {group}"))));
    let expected = format!("{}.{group}", plural.text());
    if name.text() != expected {
        errors.push(name.invalid("must be spec.names.plural+\".\"+spec.group"));
    }
    errors
}

fn validate_versions(versions: &Field<'_>) -> Vec<FieldError> {
    if versions.is_empty() {
        return vec![versions.required("must have at least one version")];
    }
    let mut errors = Vec::new();
    if versions.items().filter(|version| version.get("storage").truth()).count() != 1 {
        errors.push(versions.invalid("must have exactly one version marked as storage version"));
    }
    let mut seen = Vec::new();
    for version in versions.items() {
        let name = version.get("name");
        errors.extend(name.malformed(label));
        errors.extend(seen.contains(&name.text()).then(|| name.duplicate()));
        seen.push(name.text());
        errors.extend(validate_version(&version));
    }
    errors
}

fn validate_version(version: &Field<'_>) -> Vec<FieldError> {
    let mut errors = schema::validate(&version.get("schema").get("openAPIV3Schema"));
    for column in version.get("additionalPrinterColumns").items() {
        errors.extend(column.get("name").is_empty().then(|| column.get("name").required("")));
        errors.extend(column.get("type").one_of(COLUMN_TYPES));
        errors.extend(validate_path(&column.get("jsonPath")));
    }
    let scale = version.get("subresources").get("scale");
    if scale.is_set() {
        for path in ["specReplicasPath", "statusReplicasPath"] {
            let path = scale.get(path);
            errors.extend(validate_path(&path));
            let plain = JsonPath::parse(path.text()).is_ok_and(|path| path.is_plain());
            errors.extend((!plain && !path.is_empty()).then(|| path.invalid("should be a json path of members")));
        }
    }
    for field in version.get("selectableFields").items() {
        errors.extend(validate_path(&field.get("jsonPath")));
    }
    errors
}

fn validate_path(path: &Field<'_>) -> Option<FieldError> {
    if path.is_empty() {
        return Some(path.required(""));
    }
    JsonPath::parse(path.text()).err().map(|problem| path.invalid(format!("should be a valid JSON path: {problem}")))
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::resource;

    /// The smallest definition there can be.
    pub fn definition() -> Value {
        json!({
            "metadata": { "name": "pools.example.com" },
            "spec": {
                "group": "example.com", "scope": "Namespaced", "names": { "plural": "pools", "kind": "Pool" },
                "versions": [{ "name": "v1", "served": true, "storage": true,
                    "schema": { "openAPIV3Schema": { "type": "object" } } }],
            },
        })
    }

    fn problems(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut definition = definition();
        change(&mut definition);
        let definitions = resource(DEFINITIONS_GROUP, "v1", "customresourcedefinitions").expect("served");
        definitions.default_object(&mut definition);
        definitions.validate_create(&definition).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn names_that_follow_from_others_are_filled_in() {
        let mut definition = definition();
        resource(DEFINITIONS_GROUP, "v1", "customresourcedefinitions").expect("served").default_object(&mut definition);
        let expected = json!({ "plural": "pools", "kind": "Pool", "singular": "pool", "listKind": "PoolList" });
        assert_eq!(definition["spec"]["names"], expected);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_path() {
        assert_eq!(problems(|_| {}), [""; 0]);
        type Change = fn(&mut Value);
        let cases: [(Change, &str); 8] = [
            (
                |definition| definition["metadata"]["name"] = json!("x"),
                r#"metadata.name: Invalid value: "x": must be spec.names.plural+"."+spec.group"#,
            ),
            (
                |definition| definition["spec"]["scope"] = json!("Global"),
                r#"spec.scope: Unsupported value: "Global": supported values: "Cluster", "Namespaced""#,
            ),
            (
                |definition| definition["spec"]["versions"][0]["schema"] = Value::Null,
                "spec.versions[0].schema.openAPIV3Schema: Required value: schemas are required",
            ),
            (
                |definition| definition["spec"]["conversion"] = json!({ "strategy": "Webhook" }),
                r#"spec.conversion.strategy: Unsupported value: "Webhook": supported values: "None""#,
            ),
            (
                |definition| {
                    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["a"] = json!({});
                },
                "spec.versions[0].schema.openAPIV3Schema.properties[a].type: Required value: must not be empty for \
                 specified object fields",
            ),
            (
                |definition| {
                    definition["spec"]["versions"][0]["additionalPrinterColumns"] =
                        json!([{ "name": "A", "type": "string", "jsonPath": "a" }]);
                },
                r#"spec.versions[0].additionalPrinterColumns[0].jsonPath: Invalid value: "a": should be a valid JSON path: a JSON path starts with a dot"#,
            ),
            (
                |definition| {
                    definition["spec"]["group"] = json!("x.k8s.io");
                    definition["metadata"]["name"] = json!("pools.x.k8s.io");
                },
                "metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval \
                 annotation",
            ),
            (
                |definition| {
                    definition["metadata"] = json!({
                        "name": "ingresses.networking.k8s.io", "annotations": { (APPROVAL): "https://example.com" },
                    });
                    definition["spec"]["group"] = json!("networking.k8s.io");
                    definition["spec"]["names"] = json!({ "plural": "ingresses", "kind": "Ingress" });
                },
                r#"spec.names.plural: Invalid value: "ingresses": is a built-in resource of the group networking.k8s.io"#,
            ),
        ];
        for (change, expected) in cases {
            assert_eq!(problems(change), [expected]);
        }
    }

    #[test]
    fn rules_that_are_not_evaluated_are_told_of() {
        let mut definition = definition();
        assert!(warnings(&definition).is_empty());
        definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"][CEL] = json!([{ "rule": "self.a > 0" }]);
        let expected = "version v1: x-kubernetes-validations are stored, and not evaluated by this server";
        assert_eq!(warnings(&definition), [expected]);
    }
}
