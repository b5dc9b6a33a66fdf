//! Values of the wrong JSON type, in the words of Go's JSON decoder.

mod scalar;
mod words;

use serde_json::Value;

use super::Kind;
use super::table::{Field, Message, OBJECT_META, Type};
use scalar::{Problem, problem_of};
use words::{go_type, json_type, json_type_or_number};

const METADATA: &str = "metadata";

/// A value that cannot stand where it stands.
///
/// `Display` is what Kubernetes answers: `Deployment in version "v1" cannot be handled as a Deployment: json: cannot
/// unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} in version {version:?} cannot be handled as a {kind}: {problem}")]
pub struct TypeMismatch {
    kind: String,
    version: String,
    problem: String,
}

impl TypeMismatch {
    /// The sentence without the kind, for a place that names it already.
    pub fn problem(&self) -> &str {
        &self.problem
    }
}

/// Checks that every known field of `object` holds JSON of its type; the first that does not is the error.
/// Of a custom kind these are the fields of its metadata; the rest is for its own schema to judge.
pub fn check_types<'a>(kind: impl Into<Kind<'a>>, object: &Value) -> Result<(), TypeMismatch> {
    let Kind { gvk, root } = kind.into();
    let mut checker = Checker { path: Vec::new() };
    checker.check_root(root, object).map_err(|problem| TypeMismatch {
        kind: gvk.kind.to_owned(),
        version: gvk.version.to_owned(),
        problem,
    })
}

/// Walks an object; `path` holds the names of the fields on the way.
struct Checker<'a> {
    path: Vec<&'a str>,
}

/// The struct a field belongs to and the field: what the error names.
#[derive(Clone, Copy)]
struct Origin<'t> {
    owner: &'t Message,
    field: &'t Field,
}

impl<'a> Checker<'a> {
    fn check_root(&mut self, root: Type, object: &'a Value) -> Result<(), String> {
        match (root, Message::named(OBJECT_META), object.get(METADATA)) {
            (Type::Message(message), ..) => self.check_message(message, object),
            (Type::Custom(_), Some(message), Some(metadata)) => {
                self.path.push(METADATA);
                self.check_message(message, metadata)
            }
            _ => Ok(()),
        }
    }

    fn check_message(&mut self, message: &'static Message, value: &'a Value) -> Result<(), String> {
        let Value::Object(members) = value else {
            return if value.is_null() { Ok(()) } else { Err(self.cannot_unmarshal(value, message.short_name(), "")) };
        };
        for (key, member) in members {
            let Some(field) = message.field(key) else { continue };
            self.path.push(key);
            self.check_field(Origin { owner: message, field }, field.holds(), member)?;
            self.path.pop();
        }
        Ok(())
    }

    fn check_field(&mut self, origin: Origin<'_>, holds: Type, value: &'a Value) -> Result<(), String> {
        match (holds, value) {
            (_, Value::Null) | (Type::Open | Type::Resource | Type::Custom(_), _) => Ok(()),
            (Type::Message(message), Value::Object(_)) => self.check_message(message, value),
            (Type::List(field), Value::Array(items)) => {
                items.iter().try_for_each(|item| self.check_field(origin, field.element.holds(), item))
            }
            (Type::Map(field), Value::Object(members)) => {
                members.values().try_for_each(|member| self.check_field(origin, field.element.holds(), member))
            }
            (Type::Scalar(scalar), value) => match problem_of(scalar, value) {
                None => Ok(()),
                Some(Problem::WrongType) => Err(self.wrong(origin, holds, value)),
                Some(Problem::Text(problem)) => Err(problem),
            },
            (Type::Message(_) | Type::List(_) | Type::Map(_), value) => Err(self.wrong(origin, holds, value)),
        }
    }

    fn wrong(&self, origin: Origin<'_>, holds: Type, value: &Value) -> String {
        self.cannot_unmarshal(value, &go_type(origin.field, holds), origin.owner.short_name())
    }

    fn cannot_unmarshal(&self, value: &Value, go_type: &str, owner: &str) -> String {
        let found = if go_type.starts_with("int") { json_type_or_number(value) } else { json_type(value).to_owned() };
        if self.path.is_empty() {
            return format!("json: cannot unmarshal {found} into Go value of type {go_type}");
        }
        let path = self.path.join(".");
        format!("json: cannot unmarshal {found} into Go struct field {owner}.{path} of type {go_type}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::Gvk;

    fn refusal_of(api_version: &str, kind: &str, object: &Value) -> String {
        check_types(Gvk::parse(api_version, kind), object).unwrap_err().problem
    }

    #[test]
    fn the_whole_sentence_is_that_of_kubernetes() {
        let object = json!({ "spec": { "replicas": "three" } });
        assert_eq!(
            check_types(Gvk::new("apps", "v1", "Deployment"), &object).unwrap_err().to_string(),
            r#"Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"#
        );
    }

    #[test]
    fn the_struct_named_is_the_innermost_one_and_lists_have_no_index() {
        let object = json!({ "spec": { "template": { "spec": { "containers": [{ "image": 1 }] } } } });
        assert_eq!(
            refusal_of("apps/v1", "Deployment", &object),
            "json: cannot unmarshal number into Go struct field Container.spec.template.spec.containers.image of type string"
        );
    }

    #[test]
    fn lists_maps_and_structs_are_named_as_in_go() {
        let cases = [
            (json!({ "spec": 1 }), "number into Go struct field Pod.spec of type v1.PodSpec"),
            (
                json!({ "spec": { "containers": {} } }),
                "object into Go struct field PodSpec.spec.containers of type []v1.Container",
            ),
            (
                json!({ "spec": { "containers": ["a"] } }),
                "string into Go struct field PodSpec.spec.containers of type v1.Container",
            ),
            (
                json!({ "metadata": { "labels": { "a": true } } }),
                "bool into Go struct field ObjectMeta.metadata.labels of type string",
            ),
            (
                json!({ "spec": { "restartPolicy": [] } }),
                "array into Go struct field PodSpec.spec.restartPolicy of type v1.RestartPolicy",
            ),
        ];
        for (object, expected) in cases {
            assert_eq!(refusal_of("v1", "Pod", &object), format!("json: cannot unmarshal {expected}"));
        }
    }

    #[test]
    fn numbers_must_fit() {
        let port = |port: Value| json!({ "spec": { "ports": [{ "port": port }] } });
        assert!(check_types(Gvk::new("", "v1", "Service"), &port(json!(80))).is_ok());
        for wrong in [json!(3_000_000_000_u64), json!(1.5)] {
            assert!(check_types(Gvk::new("", "v1", "Service"), &port(wrong)).is_err());
        }
    }

    #[test]
    fn amounts_times_and_bytes_must_be_well_formed() {
        let limits =
            |amount: &str| json!({ "spec": { "containers": [{ "resources": { "limits": { "cpu": amount } } }] } });
        for right in ["1", "0.5", "500m", "1Gi", "1e3", "-2", "1E"] {
            assert!(check_types(Gvk::new("", "v1", "Pod"), &limits(right)).is_ok(), "{right}");
        }
        for wrong in ["", "1gb", "m", "1e", "1.2.3"] {
            assert!(check_types(Gvk::new("", "v1", "Pod"), &limits(wrong)).is_err(), "{wrong}");
        }
        assert!(refusal_of("v1", "Secret", &json!({ "data": { "a": "$" } })).starts_with("illegal base64 data"));
        let times = json!({ "metadata": { "creationTimestamp": "yesterday" } });
        assert!(refusal_of("v1", "Pod", &times).starts_with("parsing time"));
    }
}
