//! What the server refuses and how it says so: [`ApiError`] becomes a Kubernetes `Status`.

mod field;

use std::borrow::Cow;
use std::fmt;

use serde_json::{Map, Value, json};

pub use field::{FieldError, FieldErrorReason};

/// A refusal, in the words Kubernetes uses for it: kubectl prints them and client libraries match on them.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ApiError {
    /// The object does not exist.
    #[error("{resource} {name:?} not found")]
    NotFound {
        /// The resource that was asked for.
        resource: GroupResource,
        /// The object's name.
        name: String,
    },
    /// No resource is served at this path.
    #[error("the server could not find the requested resource")]
    NoSuchResource,
    /// An object of this name exists.
    #[error("{resource} {name:?} already exists")]
    AlreadyExists {
        /// The resource of the object.
        resource: GroupResource,
        /// The object's name.
        name: String,
    },
    /// The object is not as the caller expected it.
    #[error("Operation cannot be fulfilled on {resource} {name:?}: {why}")]
    Conflict {
        /// The resource of the object.
        resource: GroupResource,
        /// The object's name.
        name: String,
        /// What does not match.
        why: String,
    },
    /// A server-side apply touches fields that other managers own.
    #[error("{message}")]
    ApplyConflict {
        /// The summary, one line per conflict.
        message: String,
        /// One cause per field.
        causes: Vec<StatusCause>,
    },
    /// The object was understood and breaks rules of its kind.
    #[error("{kind} {name:?} is invalid: {}", FieldErrorList(.errors))]
    Invalid {
        /// The object's kind.
        kind: GroupKind,
        /// The object's name, or what was given in its place.
        name: String,
        /// Every rule broken; never empty.
        errors: Vec<FieldError>,
    },
    /// The request is well formed and not permitted.
    #[error("{}", forbidden_message(.resource, .name, .why))]
    Forbidden {
        /// The resource of the object.
        resource: GroupResource,
        /// The object's name; may be empty.
        name: String,
        /// The rule that forbids it.
        why: String,
    },
    /// The request itself cannot be understood.
    #[error("{message}")]
    BadRequest {
        /// What is wrong and what would be right.
        message: String,
    },
    /// Nobody is known to be calling.
    #[error("Unauthorized")]
    Unauthorized,
    /// The resource does not offer this verb.
    #[error("the server does not allow this method on the requested resource")]
    MethodNotAllowed {
        /// The resource, where one was recognised.
        resource: Option<GroupResource>,
    },
    /// None of the media types in `Accept` can be produced.
    #[error("only the following media types are accepted: {accepted}")]
    NotAcceptable {
        /// The media types that can be produced.
        accepted: Cow<'static, str>,
    },
    /// The body is of a media type that is not accepted here.
    #[error("the body of the request was in an unknown format - accepted media types include: {accepted}")]
    UnsupportedMediaType {
        /// The media types that are accepted.
        accepted: Cow<'static, str>,
    },
    /// The body is larger than the server reads.
    #[error("Request entity too large: limit is {limit_bytes}")]
    TooLarge {
        /// The limit.
        limit_bytes: usize,
    },
    /// The revision asked for has been compacted away.
    #[error("{message}")]
    Expired {
        /// What is too old.
        message: String,
        /// A continue token that goes on from the present, if there is one.
        continue_token: Option<String>,
    },
    /// The client has too much under way.
    #[error("{message}")]
    TooManyRequests {
        /// Which limit was met.
        message: String,
        /// When to try again.
        retry_after_seconds: u32,
    },
    /// The server's revision is behind what was asked for.
    #[error("Too large resource version: {asked}, current: {current}")]
    ResourceVersionTooLarge {
        /// The revision asked for.
        asked: u64,
        /// The newest revision there is.
        current: u64,
    },
    /// Something the server depends on cannot be reached now.
    #[error("{message}")]
    Unavailable {
        /// What cannot be reached.
        message: String,
    },
    /// The server failed; nothing the caller did.
    #[error("Internal error occurred: {message}")]
    Internal {
        /// What failed.
        message: String,
    },
}

/// A resource without its version, printed as Kubernetes does: `pods`, `deployments.apps`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GroupResource {
    /// The API group; empty for the core group.
    pub group: Cow<'static, str>,
    /// The plural name.
    pub resource: Cow<'static, str>,
}

/// A kind without its version, printed as Kubernetes does: `Pod`, `Deployment.apps`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GroupKind {
    /// The API group; empty for the core group.
    pub group: Cow<'static, str>,
    /// The kind.
    pub kind: Cow<'static, str>,
}

/// One entry of a `Status`'s `details.causes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusCause {
    /// A machine-readable reason in CamelCase.
    pub reason: Cow<'static, str>,
    /// What is wrong, for people.
    pub message: String,
    /// The field concerned, if one is.
    pub field: Option<String>,
}

impl ApiError {
    /// The optimistic-concurrency conflict: the caller's `resourceVersion` is not the stored one.
    pub fn modified(resource: GroupResource, name: impl Into<String>) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::Conflict { resource, name: name.into(), why: why.into() }
    }

    /// A request that cannot be understood.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::BadRequest { message: message.into() }
    }

    /// A failure of the server itself, described by the error that caused it.
    pub fn internal(cause: impl fmt::Display) -> Self {
        Self::Internal { message: cause.to_string() }
    }

    /// The HTTP status code.
    pub fn code(&self) -> u16 {
        match self {
            Self::BadRequest { .. } => 400,
            Self::Unauthorized => 401,
            Self::Forbidden { .. } => 403,
            Self::NotFound { .. } | Self::NoSuchResource => 404,
            Self::MethodNotAllowed { .. } => 405,
            Self::NotAcceptable { .. } => 406,
            Self::AlreadyExists { .. } | Self::Conflict { .. } | Self::ApplyConflict { .. } => 409,
            Self::Expired { .. } => 410,
            Self::TooLarge { .. } => 413,
            Self::UnsupportedMediaType { .. } => 415,
            Self::Invalid { .. } => 422,
            Self::TooManyRequests { .. } => 429,
            Self::Internal { .. } => 500,
            Self::Unavailable { .. } => 503,
            Self::ResourceVersionTooLarge { .. } => 504,
        }
    }

    /// The `reason` of the `Status`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::BadRequest { .. } => "BadRequest",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden { .. } => "Forbidden",
            Self::NotFound { .. } | Self::NoSuchResource => "NotFound",
            Self::MethodNotAllowed { .. } => "MethodNotAllowed",
            Self::NotAcceptable { .. } => "NotAcceptable",
            Self::AlreadyExists { .. } => "AlreadyExists",
            Self::Conflict { .. } | Self::ApplyConflict { .. } => "Conflict",
            Self::Expired { .. } => "Expired",
            Self::TooLarge { .. } => "RequestEntityTooLarge",
            Self::UnsupportedMediaType { .. } => "UnsupportedMediaType",
            Self::Invalid { .. } => "Invalid",
            Self::TooManyRequests { .. } => "TooManyRequests",
            Self::Internal { .. } => "InternalError",
            Self::Unavailable { .. } => "ServiceUnavailable",
            Self::ResourceVersionTooLarge { .. } => "Timeout",
        }
    }

    /// How long to wait before trying again, where trying again may help.
    pub fn retry_after_seconds(&self) -> Option<u32> {
        match self {
            Self::TooManyRequests { retry_after_seconds, .. } => Some(*retry_after_seconds),
            Self::Unavailable { .. } | Self::ResourceVersionTooLarge { .. } => Some(1),
            _ => None,
        }
    }

    /// The `Status` object that answers the request.
    pub fn to_status(&self) -> Value {
        let mut metadata = Map::new();
        if let Self::Expired { continue_token: Some(token), .. } = self {
            metadata.insert("continue".into(), json!(token));
        }
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": metadata, "status": "Failure",
            "message": self.to_string(), "reason": self.reason(),
        });
        let details = self.details();
        if !details.is_empty() {
            status["details"] = Value::Object(details);
        }
        status["code"] = json!(self.code());
        status
    }

    fn details(&self) -> Map<String, Value> {
        let mut details = Map::new();
        match self {
            Self::NotFound { resource, name }
            | Self::AlreadyExists { resource, name }
            | Self::Conflict { resource, name, .. }
            | Self::Forbidden { resource, name, .. } => {
                describe(&mut details, name, &resource.group, &resource.resource);
            }
            Self::MethodNotAllowed { resource: Some(resource) } => {
                describe(&mut details, "", &resource.group, &resource.resource);
            }
            Self::Invalid { kind, name, .. } => describe(&mut details, name, &kind.group, &kind.kind),
            _ => {}
        }
        let causes = self.causes();
        if !causes.is_empty() {
            details.insert("causes".into(), causes.iter().map(StatusCause::to_json).collect());
        }
        if let Some(seconds) = self.retry_after_seconds() {
            details.insert("retryAfterSeconds".into(), json!(seconds));
        }
        details
    }

    fn causes(&self) -> Vec<StatusCause> {
        match self {
            Self::ApplyConflict { causes, .. } => causes.clone(),
            Self::Invalid { errors, .. } => errors.iter().map(StatusCause::from).collect(),
            Self::ResourceVersionTooLarge { .. } => vec![StatusCause {
                reason: "ResourceVersionTooLarge".into(),
                message: "Too large resource version".into(),
                field: None,
            }],
            _ => Vec::new(),
        }
    }
}

impl GroupResource {
    /// A resource of a group that is known at compile time.
    pub const fn of(group: &'static str, resource: &'static str) -> Self {
        Self { group: Cow::Borrowed(group), resource: Cow::Borrowed(resource) }
    }
}

impl GroupKind {
    /// A kind of a group that is known at compile time.
    pub const fn of(group: &'static str, kind: &'static str) -> Self {
        Self { group: Cow::Borrowed(group), kind: Cow::Borrowed(kind) }
    }
}

impl fmt::Display for GroupResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_qualified(f, &self.resource, &self.group)
    }
}

impl fmt::Display for GroupKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_qualified(f, &self.kind, &self.group)
    }
}

impl StatusCause {
    fn to_json(&self) -> Value {
        let mut cause = json!({ "reason": self.reason, "message": self.message });
        if let Some(field) = &self.field {
            cause["field"] = json!(field);
        }
        cause
    }
}

impl From<&FieldError> for StatusCause {
    fn from(error: &FieldError) -> Self {
        Self { reason: error.reason.name().into(), message: error.body(), field: Some(error.field.clone()) }
    }
}

/// Several field errors as Kubernetes joins them: one bare, more in brackets.
struct FieldErrorList<'a>(&'a [FieldError]);

impl fmt::Display for FieldErrorList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = self.0 {
            return only.fmt(f);
        }
        let texts: Vec<String> = self.0.iter().map(FieldError::to_string).collect();
        write!(f, "[{}]", texts.join(", "))
    }
}

fn write_qualified(f: &mut fmt::Formatter<'_>, name: &str, group: &str) -> fmt::Result {
    if group.is_empty() { f.write_str(name) } else { write!(f, "{name}.{group}") }
}

fn describe(details: &mut Map<String, Value>, name: &str, group: &str, kind: &str) {
    for (key, text) in [("name", name), ("group", group), ("kind", kind)] {
        if !text.is_empty() {
            details.insert(key.into(), json!(text));
        }
    }
}

fn forbidden_message(resource: &GroupResource, name: &str, why: &str) -> String {
    match (resource.resource.is_empty(), name.is_empty()) {
        (true, _) => format!("forbidden: {why}"),
        (false, true) => format!("{resource} is forbidden: {why}"),
        (false, false) => format!("{resource} {name:?} is forbidden: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn not_found_reads_as_kubernetes_writes_it() {
        let error = ApiError::NotFound { resource: GroupResource::of("apps", "deployments"), name: "web".into() };
        assert_eq!(
            error.to_status(),
            json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "deployments.apps \"web\" not found", "reason": "NotFound",
                "details": { "name": "web", "group": "apps", "kind": "deployments" }, "code": 404,
            })
        );
    }

    #[test]
    fn one_broken_rule_stands_bare_and_several_in_brackets() {
        let broken = |field: &str| FieldError::required(field, "");
        let invalid = |errors| ApiError::Invalid { kind: GroupKind::of("", "Pod"), name: "a".into(), errors };
        assert_eq!(invalid(vec![broken("spec.x")]).to_string(), "Pod \"a\" is invalid: spec.x: Required value");
        assert_eq!(
            invalid(vec![broken("spec.x"), broken("spec.y")]).to_string(),
            "Pod \"a\" is invalid: [spec.x: Required value, spec.y: Required value]"
        );
    }

    #[test]
    fn causes_name_the_field_and_repeat_the_message_without_it() {
        let error = ApiError::Invalid {
            kind: GroupKind::of("", "Service"),
            name: "a".into(),
            errors: vec![FieldError::invalid("spec.ports[0].port", json!(0), "must be between 1 and 65535, inclusive")],
        };
        assert_eq!(
            error.to_status()["details"]["causes"],
            json!([{
                "reason": "FieldValueInvalid",
                "message": "Invalid value: 0: must be between 1 and 65535, inclusive",
                "field": "spec.ports[0].port",
            }])
        );
    }

    #[test]
    fn a_stale_write_is_told_to_try_again() {
        let error = ApiError::modified(GroupResource::of("", "pods"), "a");
        assert_eq!(error.code(), 409);
        assert_eq!(
            error.to_string(),
            "Operation cannot be fulfilled on pods \"a\": the object has been modified; \
             please apply your changes to the latest version and try again"
        );
    }

    #[test]
    fn an_expired_list_carries_the_token_to_go_on_with() {
        let error = ApiError::Expired { message: "too old".into(), continue_token: Some("abc".into()) };
        assert_eq!(error.to_status()["metadata"], json!({ "continue": "abc" }));
    }
}
