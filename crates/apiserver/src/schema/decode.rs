//! Request bodies in the media types Kubernetes clients send.

use serde_json::Value;

use super::{TypeMismatch, document};
use crate::ApiError;
use crate::protobuf::{self, ProtobufError};

/// A body that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// The object.
    pub value: Value,
    /// What strict validation objects to, each as `duplicate field "spec.replicas"`.
    pub duplicates: Vec<String>,
}

/// Why a body cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The body is not JSON.
    #[error("couldn't parse the body as JSON: {source}")]
    Json {
        /// What the parser met.
        source: serde_json::Error,
    },
    /// The body is not YAML.
    #[error("couldn't parse the body as YAML: {source}")]
    Yaml {
        /// What the parser met.
        source: Box<serde_saphyr::Error>,
    },
    /// The body is not Kubernetes protobuf of a known kind.
    #[error("couldn't parse the body as protobuf: {source}")]
    Protobuf {
        /// What the decoder met.
        source: ProtobufError,
    },
    /// The media type is none of those that are read here.
    #[error("the body of the request was in an unknown format - accepted media types include: {ACCEPTED}")]
    UnknownMediaType,
}

const ACCEPTED: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";

/// Reads a body by its `Content-Type`; parameters such as `charset` do not matter, and none at all means JSON.
pub fn decode_body(content_type: Option<&str>, body: &[u8]) -> Result<Decoded, DecodeError> {
    let media_type = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    match media_type.to_ascii_lowercase().as_str() {
        "" | "*/*" | "application/json" => {
            document::from_json(body).map(Decoded::from).map_err(|source| DecodeError::Json { source })
        }
        "application/yaml" | "application/apply-patch+yaml" => document::from_yaml(body)
            .map(Decoded::from)
            .map_err(|source| DecodeError::Yaml { source: Box::new(source) }),
        "application/vnd.kubernetes.protobuf" => protobuf::decode(body)
            .map(|value| Decoded { value, duplicates: Vec::new() })
            .map_err(|source| DecodeError::Protobuf { source }),
        _ => Err(DecodeError::UnknownMediaType),
    }
}

impl From<document::Document> for Decoded {
    fn from(read: document::Document) -> Self {
        let duplicates = read.duplicates.iter().map(|path| format!("duplicate field {path:?}")).collect();
        Self { value: read.value, duplicates }
    }
}

impl From<DecodeError> for ApiError {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::UnknownMediaType => Self::UnsupportedMediaType { accepted: ACCEPTED.into() },
            other => Self::bad_request(other.to_string()),
        }
    }
}

impl From<TypeMismatch> for ApiError {
    fn from(mismatch: TypeMismatch) -> Self {
        Self::bad_request(mismatch.to_string())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_media_type_decides_and_its_parameters_do_not() {
        let json = decode_body(Some("application/json; charset=utf-8"), br#"{"a":1,"a":2}"#).unwrap();
        assert_eq!(json, Decoded { value: json!({ "a": 2 }), duplicates: vec![r#"duplicate field "a""#.into()] });
        assert_eq!(decode_body(None, b"{}").unwrap().value, json!({}));
        assert_eq!(decode_body(Some("application/yaml"), b"a: 1").unwrap().value, json!({ "a": 1 }));
    }

    #[test]
    fn a_foreign_media_type_is_answered_with_the_accepted_ones() {
        let error = ApiError::from(decode_body(Some("text/html"), b"").unwrap_err());
        assert_eq!(error.code(), 415);
        assert!(error.to_string().ends_with("application/vnd.kubernetes.protobuf"));
    }

    #[test]
    fn what_is_not_json_is_a_bad_request() {
        assert_eq!(ApiError::from(decode_body(None, b"{").unwrap_err()).code(), 400);
    }
}
