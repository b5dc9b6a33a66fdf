//! How Go calls values and types.

use serde_json::Value;

use crate::schema::table::{Field, Scalar, Shape, Type};

/// How Go's decoder calls the JSON value it met.
pub(super) fn json_type(value: &Value) -> &'static str {
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
pub(super) fn json_type_or_number(value: &Value) -> String {
    if value.is_number() { format!("number {value}") } else { json_type(value).to_owned() }
}

/// How Go prints the type of a field, or of an element of it.
pub(super) fn go_type(field: &Field, holds: Type) -> String {
    let whole = matches!((holds, field.shape), (Type::List(_), _) | (Type::Map(_), _) | (_, Shape::Single));
    if whole && !field.go.is_empty() {
        return field.go.clone();
    }
    let element = field.go.rsplit(']').next().unwrap_or_default();
    match holds {
        _ if !element.is_empty() && element.contains('.') => element.to_owned(),
        Type::Scalar(scalar) => go_scalar(scalar).to_owned(),
        Type::Message(message) => format!("v1.{}", message.short_name()),
        Type::List(_) | Type::Map(_) | Type::Open | Type::Resource | Type::Custom(_) => element.to_owned(),
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
