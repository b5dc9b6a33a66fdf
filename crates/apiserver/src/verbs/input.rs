//! Bodies: decoded, of the right kind, with nothing unknown in them.

use serde_json::{Value, json};

use crate::api::Call;
use crate::error::ApiError;
use crate::http::query::FieldValidation;
use crate::schema::{self, Gvk, Kind, check_types, decode_body, strict_decoding_error, unknown_fields};

/// A body that may be stored, and what to warn its author of.
#[derive(Debug)]
pub(super) struct Input {
    pub object: Value,
    pub warnings: Vec<String>,
}

/// Reads the body of a call as an object of the kind its path takes.
pub(super) fn read_object(call: &Call, validation: FieldValidation) -> Result<Input, ApiError> {
    let decoded = decode_body(call.content_type.as_deref(), &call.body)?;
    let mut object = decoded.value;
    if !object.is_object() {
        return Err(ApiError::bad_request("the body of the request is not an object"));
    }
    let kind = call.body_kind();
    claim_kind(&mut object, kind.gvk)?;
    check_types(kind, &object)?;
    let warnings = clean(kind, &mut object, decoded.duplicates, validation)
        .map_err(|problems| strict_error(kind.gvk, &problems))?;
    Ok(Input { object, warnings })
}

/// Gives an object its normal form, without unknown fields; what they are is an error or a warning, as asked for.
pub(super) fn clean(
    kind: Kind<'_>,
    object: &mut Value,
    mut problems: Vec<String>,
    validation: FieldValidation,
) -> Result<Vec<String>, Vec<String>> {
    problems.extend(unknown_fields(kind, object));
    schema::normalize(kind, object);
    match validation {
        FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Warn => Ok(problems),
        FieldValidation::Strict if problems.is_empty() => Ok(problems),
        FieldValidation::Strict => Err(problems),
    }
}

/// Makes sure the object is of the kind, and says so.
fn claim_kind(object: &mut Value, expected: Gvk<'_>) -> Result<(), ApiError> {
    let text = |object: &Value, field: &str| object[field].as_str().unwrap_or_default().to_owned();
    let (api_version, kind) = (text(object, "apiVersion"), text(object, "kind"));
    let expected_version = expected.api_version();
    if !kind.is_empty() && kind != expected.kind {
        let version = api_version.rsplit('/').next().unwrap_or_default();
        let expected = expected.kind;
        return Err(ApiError::bad_request(format!("{kind} in version {version:?} cannot be handled as a {expected}")));
    }
    if !api_version.is_empty() && api_version != expected_version {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({expected_version})"
        )));
    }
    object["apiVersion"] = json!(expected_version);
    object["kind"] = json!(expected.kind);
    Ok(())
}

fn strict_error(kind: Gvk<'_>, problems: &[String]) -> ApiError {
    let Gvk { version, kind, .. } = kind;
    let problems = strict_decoding_error(problems);
    ApiError::bad_request(format!("{kind} in version {version:?} cannot be handled as a {kind}: {problems}"))
}
