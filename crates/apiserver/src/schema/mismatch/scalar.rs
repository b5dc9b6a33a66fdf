//! Which JSON can stand for a scalar.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::schema::Quantity;
use crate::schema::table::Scalar;

/// What is wrong with a value.
pub(super) enum Problem {
    /// It is of another JSON type.
    WrongType,
    /// It is text that means nothing here; this is what Kubernetes says to it.
    Text(String),
}

/// What is wrong with a value as this scalar.
pub(super) fn problem_of(scalar: Scalar, value: &Value) -> Option<Problem> {
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
    let Some(text) = value.as_str() else { return Some(Problem::WrongType) };
    let failure = STANDARD.decode(text).err()?;
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
