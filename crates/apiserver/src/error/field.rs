//! One broken rule of one field.

use std::fmt;

use serde_json::Value;

/// A field that breaks a rule of its kind.
///
/// `Display` is Kubernetes' own text: `spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive`.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldError {
    /// Which sort of rule.
    pub reason: FieldErrorReason,
    /// The path of the field: `spec.ports[0].port`, `metadata.labels[app]`.
    pub field: String,
    /// The value that was given; not shown for [`Required`](FieldErrorReason::Required),
    /// [`Forbidden`](FieldErrorReason::Forbidden) and [`TooLong`](FieldErrorReason::TooLong).
    pub value: Option<Value>,
    /// What would be right; may be empty.
    pub detail: String,
}

/// The sorts of rules a field can break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FieldErrorReason {
    /// A value is missing.
    Required,
    /// The value is wrong.
    Invalid,
    /// The value is not one of a fixed set.
    NotSupported,
    /// The value stands elsewhere already and must be unique.
    Duplicate,
    /// The field may not be set, or not changed.
    Forbidden,
    /// The value is longer than allowed.
    TooLong,
    /// There are more items than allowed.
    TooMany,
    /// What the value refers to does not exist.
    NotFound,
    /// The value is of the wrong JSON type.
    TypeInvalid,
    /// The server could not decide.
    Internal,
}

impl FieldError {
    /// A value is missing.
    pub fn required(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::without_value(FieldErrorReason::Required, field, detail)
    }

    /// The field may not be set or changed.
    pub fn forbidden(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::without_value(FieldErrorReason::Forbidden, field, detail)
    }

    /// The value is wrong; `detail` says what would be right.
    pub fn invalid(field: impl Into<String>, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        let (field, value, detail) = (field.into(), Some(value.into()), detail.into());
        Self { reason: FieldErrorReason::Invalid, field, value, detail }
    }

    /// The value stands elsewhere already.
    pub fn duplicate(field: impl Into<String>, value: impl Into<Value>) -> Self {
        let (field, value) = (field.into(), Some(value.into()));
        Self { reason: FieldErrorReason::Duplicate, field, value, detail: String::new() }
    }

    /// The value is not one of `supported`.
    pub fn not_supported(field: impl Into<String>, value: impl Into<Value>, supported: &[&str]) -> Self {
        let quoted: Vec<String> = supported.iter().map(|choice| format!("{choice:?}")).collect();
        let detail = if quoted.is_empty() { String::new() } else { format!("supported values: {}", quoted.join(", ")) };
        let (field, value) = (field.into(), Some(value.into()));
        Self { reason: FieldErrorReason::NotSupported, field, value, detail }
    }

    /// The value is longer than `max_bytes`.
    pub fn too_long(field: impl Into<String>, max_bytes: usize) -> Self {
        let detail = format!("may not be more than {max_bytes} bytes");
        Self::without_value(FieldErrorReason::TooLong, field, detail)
    }

    /// There are `actual` items where at most `max` are allowed.
    pub fn too_many(field: impl Into<String>, actual: usize, max: usize) -> Self {
        let plural = if max == 1 { "item" } else { "items" };
        let (field, value) = (field.into(), Some(actual.into()));
        Self { reason: FieldErrorReason::TooMany, field, value, detail: format!("must have at most {max} {plural}") }
    }

    /// What the value refers to does not exist.
    pub fn not_found(field: impl Into<String>, value: impl Into<Value>) -> Self {
        let (field, value) = (field.into(), Some(value.into()));
        Self { reason: FieldErrorReason::NotFound, field, value, detail: String::new() }
    }

    fn without_value(reason: FieldErrorReason, field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { reason, field: field.into(), value: None, detail: detail.into() }
    }

    /// The text without the field's path, as `details.causes[].message` carries it.
    pub fn body(&self) -> String {
        let mut text = self.reason.title().to_owned();
        if let Some(value) = self.value.as_ref().filter(|_| self.reason.shows_value()) {
            text.push_str(&format!(": {value}"));
        }
        if !self.detail.is_empty() {
            text.push_str(&format!(": {}", self.detail));
        }
        text
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

impl FieldErrorReason {
    /// The API's name for it: `FieldValueRequired` and so on.
    pub fn name(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::NotFound => "FieldValueNotFound",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::Internal => "InternalError",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Required => "Required value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Duplicate => "Duplicate value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::NotFound => "Not found",
            Self::Internal => "Internal error",
        }
    }

    fn shows_value(self) -> bool {
        !matches!(self, Self::Required | Self::Forbidden | Self::TooLong | Self::Internal)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_are_those_of_kubernetes() {
        let cases = [
            (FieldError::required("spec.containers", ""), "spec.containers: Required value"),
            (
                FieldError::invalid("spec.ports[0].port", 0, "must be between 1 and 65535, inclusive"),
                "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
            ),
            (
                FieldError::not_supported("spec.type", "Foo", &["ClusterIP", "NodePort"]),
                "spec.type: Unsupported value: \"Foo\": supported values: \"ClusterIP\", \"NodePort\"",
            ),
            (FieldError::duplicate("spec.ports[1].name", "a"), "spec.ports[1].name: Duplicate value: \"a\""),
            (FieldError::forbidden("spec", "may not change"), "spec: Forbidden: may not change"),
            (FieldError::too_long("metadata.name", 63), "metadata.name: Too long: may not be more than 63 bytes"),
            (FieldError::too_many("spec.x", 5, 3), "spec.x: Too many: 5: must have at most 3 items"),
            (FieldError::not_found("spec.volumeMounts[0].name", "v"), "spec.volumeMounts[0].name: Not found: \"v\""),
        ];
        for (error, text) in cases {
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn a_required_value_is_never_shown() {
        let error = FieldError {
            reason: FieldErrorReason::Required,
            field: "a".into(),
            value: Some(json!("")),
            detail: "b".into(),
        };
        assert_eq!(error.to_string(), "a: Required value: b");
    }
}
