//! Values of the wrong JSON type, in the words of Go's JSON decoder.

use serde_json::Value;

use super::table::{Field, Message, Scalar, Shape, Type};
use super::{Gvk, Quantity};

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
pub fn check_types(gvk: Gvk<'_>, object: &Value) -> Result<(), TypeMismatch> {
    let Some(message) = Message::of_kind(gvk) else { return Ok(()) };
    let mut checker = Checker { path: Vec::new() };
    checker.check_message(message, object).map_err(|problem| TypeMismatch {
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
struct Place<'t> {
    owner: &'t Message,
    field: &'t Field,
}

impl<'a> Checker<'a> {
    fn check_message(&mut self, message: &'static Message, value: &'a Value) -> Result<(), String> {
        let Value::Object(members) = value else {
            return if value.is_null() { Ok(()) } else { Err(self.cannot_unmarshal(value, message.short_name(), "")) };
        };
        for (key, member) in members {
            let Some(field) = message.field(key) else { continue };
            self.path.push(key);
            self.check_field(Place { owner: message, field }, field.holds(), member)?;
            self.path.pop();
        }
        Ok(())
    }

    fn check_field(&mut self, place: Place<'_>, holds: Type, value: &'a Value) -> Result<(), String> {
        match (holds, value) {
            (_, Value::Null) | (Type::Open | Type::Resource, _) => Ok(()),
            (Type::Message(message), Value::Object(_)) => self.check_message(message, value),
            (Type::List(field), Value::Array(items)) => {
                items.iter().try_for_each(|item| self.check_field(place, field.element.holds(), item))
            }
            (Type::Map(field), Value::Object(members)) => {
                members.values().try_for_each(|member| self.check_field(place, field.element.holds(), member))
            }
            (Type::Scalar(scalar), value) => match scalar_problem(scalar, value) {
                None => Ok(()),
                Some(Problem::WrongType) => Err(self.wrong(place, holds, value)),
                Some(Problem::Text(problem)) => Err(problem),
            },
            (Type::Message(_) | Type::List(_) | Type::Map(_), value) => Err(self.wrong(place, holds, value)),
        }
    }

    fn wrong(&self, place: Place<'_>, holds: Type, value: &Value) -> String {
        self.cannot_unmarshal(value, &go_type(place.field, holds), place.owner.short_name())
    }

    fn cannot_unmarshal(&self, value: &Value, go_type: &str, owner: &str) -> String {
        let found = if go_type.starts_with("int") { numbered(value) } else { json_type(value).to_owned() };
        if self.path.is_empty() {
            return format!("json: cannot unmarshal {found} into Go value of type {go_type}");
        }
        let path = self.path.join(".");
        format!("json: cannot unmarshal {found} into Go struct field {owner}.{path} of type {go_type}")
    }
}

enum Problem {
    WrongType,
    Text(String),
}

/// What is wrong with a value as this scalar.
fn scalar_problem(scalar: Scalar, value: &Value) -> Option<Problem> {
    let fits = match scalar {
        Scalar::String => value.is_string(),
        Scalar::Bool => value.is_boolean(),
        Scalar::Int32 => value.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
        Scalar::Int64 => value.is_i64(),
        Scalar::Float64 => value.is_number(),
        Scalar::IntOrString => value.is_string() || value.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
        Scalar::Strings => value.as_array().is_some_and(|items| items.iter().all(Value::is_string)),
        Scalar::Bytes => return bytes_problem(value),
        Scalar::Time | Scalar::MicroTime => return time_problem(value),
        Scalar::Quantity => return quantity_problem(value),
        Scalar::SchemaOrArray => value.is_object() || value.is_array(),
        Scalar::SchemaOrBool => value.is_object() || value.is_boolean(),
        Scalar::SchemaOrStrings => value.is_object() || value.is_array(),
        Scalar::Raw => true,
    };
    (!fits).then_some(Problem::WrongType)
}

fn bytes_problem(value: &Value) -> Option<Problem> {
    use base64::Engine as _;
    let Some(text) = value.as_str() else { return Some(Problem::WrongType) };
    let failure = base64::engine::general_purpose::STANDARD.decode(text).err()?;
    let at = match failure {
        base64::DecodeError::InvalidByte(at, _) => at,
        base64::DecodeError::InvalidLastSymbol { offset, .. } => offset,
        _ => text.len(),
    };
    Some(Problem::Text(format!("illegal base64 data at input byte {at}")))
}

fn time_problem(value: &Value) -> Option<Problem> {
    let Some(text) = value.as_str() else { return Some(Problem::WrongType) };
    if text.parse::<jiff::Timestamp>().is_ok() {
        return None;
    }
    Some(Problem::Text(format!(r#"parsing time {text:?} as "2006-01-02T15:04:05Z07:00": cannot parse {text:?}"#)))
}

fn quantity_problem(value: &Value) -> Option<Problem> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return Some(Problem::WrongType),
    };
    let problem = r"quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
    Quantity::parse(&text).is_none().then(|| Problem::Text(problem.to_owned()))
}

/// How Go's decoder calls the JSON value it met.
fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
        Value::Number(_) => "number",
    }
}

/// The same where a number was wanted: one that does not fit is shown.
fn numbered(value: &Value) -> String {
    if value.is_number() { format!("number {value}") } else { json_type(value).to_owned() }
}

/// How Go prints the type of a field, or of an element of it.
fn go_type(field: &Field, holds: Type) -> String {
    let whole = matches!((holds, field.shape), (Type::List(_), _) | (Type::Map(_), _) | (_, Shape::Single));
    if whole && !field.go.is_empty() {
        return field.go.clone();
    }
    let element = field.go.rsplit([']']).next().unwrap_or_default();
    match holds {
        _ if !element.is_empty() && element.contains('.') => element.to_owned(),
        Type::Scalar(scalar) => go_scalar(scalar).to_owned(),
        Type::Message(message) => format!("v1.{}", message.short_name()),
        Type::List(_) | Type::Map(_) | Type::Open | Type::Resource => element.to_owned(),
    }
}

fn go_scalar(scalar: Scalar) -> &'static str {
    match scalar {
        Scalar::String => "string",
        Scalar::Bool => "bool",
        Scalar::Int32 => "int32",
        Scalar::Int64 => "int64",
        Scalar::Float64 => "float64",
        Scalar::Bytes => "[]uint8",
        Scalar::Time => "v1.Time",
        Scalar::MicroTime => "v1.MicroTime",
        Scalar::Quantity => "resource.Quantity",
        Scalar::IntOrString => "intstr.IntOrString",
        Scalar::Strings => "[]string",
        Scalar::Raw => "runtime.RawExtension",
        Scalar::SchemaOrArray => "v1.JSONSchemaPropsOrArray",
        Scalar::SchemaOrBool => "v1.JSONSchemaPropsOrBool",
        Scalar::SchemaOrStrings => "v1.JSONSchemaPropsOrStringArray",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problem_of(api_version: &str, kind: &str, object: &Value) -> String {
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
            problem_of("apps/v1", "Deployment", &object),
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
            assert_eq!(problem_of("v1", "Pod", &object), format!("json: cannot unmarshal {expected}"));
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
        assert!(problem_of("v1", "Secret", &json!({ "data": { "a": "$" } })).starts_with("illegal base64 data"));
        let times = json!({ "metadata": { "creationTimestamp": "yesterday" } });
        assert!(problem_of("v1", "Pod", &times).starts_with("parsing time"));
    }
}
