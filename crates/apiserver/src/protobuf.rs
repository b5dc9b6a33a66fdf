//! Kubernetes protobuf bodies, decoded to JSON.
//!
//! kubectl from 1.32 on and current Go clients send these for built-in kinds and take no refusal. The encoding is
//! described in <https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding>; replies stay JSON.
//! Decoding never panics and its work is bounded by the length of the body.

mod message;
#[cfg(test)]
mod recorded;
mod scalar;
mod wire;

use serde_json::{Map, Value};

use crate::schema::table::Message;
use crate::schema::{self, Gvk};
use wire::{Reader, Wire};

/// What every Kubernetes protobuf body starts with.
const MAGIC: &[u8] = b"k8s\0";

/// Deeper nesting than any kind has, apart from the schemas in a CustomResourceDefinition.
const MAX_DEPTH: usize = 100;

/// Why a body is not Kubernetes protobuf.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufError {
    /// The body does not begin with the four bytes `k8s\0`.
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    NoMagic,
    /// The body ends within a value.
    #[error("unexpected EOF")]
    Truncated,
    /// A number has more than 64 bits.
    #[error("integer overflow")]
    Overflow,
    /// A field has a wire type that is not used.
    #[error("illegal tag {tag} (wire type {wire_type})")]
    IllegalWireType {
        /// The field number.
        tag: u32,
        /// The three bits after it.
        wire_type: u8,
    },
    /// A field is not encoded as its type is.
    #[error("wrong wireType for field {field}")]
    WrongWireType {
        /// The field's JSON name.
        field: String,
    },
    /// Messages are nested too deep.
    #[error("messages are nested deeper than {MAX_DEPTH}")]
    TooDeep,
    /// The body is of a kind that is not in the table.
    #[error("no kind {kind:?} is registered for version {api_version:?}")]
    UnknownKind {
        /// The kind it claims.
        kind: String,
        /// The `apiVersion` it claims.
        api_version: String,
    },
    /// The content of the envelope is encoded a second time.
    #[error("unsupported content {content:?} in the protobuf envelope")]
    UnsupportedContent {
        /// The content type or encoding.
        content: String,
    },
    /// A field that carries JSON does not.
    #[error("field {field} does not carry JSON")]
    NotJson {
        /// The field's JSON name.
        field: String,
    },
}

/// Decodes the `k8s\0` envelope and the object in it; the result has `apiVersion` and `kind`.
///
/// The result is [normal](schema::normalize): zero values that Go writes and that mean nothing are left out.
pub fn decode(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let envelope = Envelope::read(bytes.strip_prefix(MAGIC).ok_or(ProtobufError::NoMagic)?)?;
    let (api_version, kind) = (&envelope.api_version, &envelope.kind);
    let gvk = Gvk::parse(api_version, kind);
    let message = Message::of_kind(gvk)
        .ok_or_else(|| ProtobufError::UnknownKind { kind: kind.clone(), api_version: api_version.clone() })?;
    let mut object = Map::new();
    object.insert("apiVersion".into(), api_version.as_str().into());
    object.insert("kind".into(), kind.as_str().into());
    message::decode_into(&mut object, message, envelope.raw, 0)?;
    let mut object = Value::Object(object);
    schema::normalize(gvk, &mut object);
    Ok(object)
}

/// `runtime.Unknown`: which kind, and the object's own bytes.
struct Envelope<'a> {
    api_version: String,
    kind: String,
    raw: &'a [u8],
}

impl<'a> Envelope<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, ProtobufError> {
        let mut envelope = Self { api_version: String::new(), kind: String::new(), raw: &[] };
        let mut reader = Reader::new(bytes);
        while let Some((number, wire)) = reader.next_field()? {
            match (number, wire) {
                (1, Wire::Bytes(type_meta)) => envelope.read_type_meta(type_meta)?,
                (2, Wire::Bytes(raw)) => envelope.raw = raw,
                (3, Wire::Bytes(encoding)) => accept(encoding, &[""])?,
                (4, Wire::Bytes(content)) => accept(content, &["", "application/vnd.kubernetes.protobuf"])?,
                _ => {}
            }
        }
        Ok(envelope)
    }

    fn read_type_meta(&mut self, bytes: &[u8]) -> Result<(), ProtobufError> {
        let mut reader = Reader::new(bytes);
        while let Some((number, wire)) = reader.next_field()? {
            match (number, wire) {
                (1, Wire::Bytes(text)) => self.api_version = String::from_utf8_lossy(text).into_owned(),
                (2, Wire::Bytes(text)) => self.kind = String::from_utf8_lossy(text).into_owned(),
                _ => {}
            }
        }
        Ok(())
    }
}

fn accept(content: &[u8], supported: &[&str]) -> Result<(), ProtobufError> {
    let content = String::from_utf8_lossy(content);
    if supported.contains(&content.as_ref()) {
        return Ok(());
    }
    Err(ProtobufError::UnsupportedContent { content: content.into_owned() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// A field of wire type 2.
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).unwrap();
        assert!(length < 128, "one byte of length is enough for the tests");
        [&[number << 3 | 2, length], content].concat()
    }

    fn enveloped(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        let type_meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
        [MAGIC, &field(1, &type_meta), &field(2, raw)].concat()
    }

    #[test]
    fn maps_keep_empty_values_and_bytes_become_base64() {
        let entry = |key: &str, value: &[u8]| field(2, &[field(1, key.as_bytes()), field(2, value)].concat());
        let raw = [entry("a", b"hi"), entry("b", b""), field(2, &field(1, b"c"))].concat();
        assert_eq!(
            decode(&enveloped("v1", "Secret", &raw)).unwrap(),
            json!({ "apiVersion": "v1", "kind": "Secret", "data": { "a": "aGk=", "b": "", "c": "" } })
        );
    }

    #[test]
    fn fields_that_nobody_knows_are_skipped() {
        assert_eq!(
            decode(&enveloped("v1", "ConfigMap", &field(15, b"new"))).unwrap(),
            json!({ "apiVersion": "v1", "kind": "ConfigMap" })
        );
    }

    #[test]
    fn what_is_not_kubernetes_protobuf_is_refused() {
        assert_eq!(decode(b"{}"), Err(ProtobufError::NoMagic));
        assert_eq!(
            decode(&enveloped("v9", "Thing", b"")).unwrap_err().to_string(),
            "no kind \"Thing\" is registered for version \"v9\""
        );
        let wrong = [1 << 3, 1];
        assert_eq!(
            decode(&enveloped("v1", "ConfigMap", &wrong)),
            Err(ProtobufError::WrongWireType { field: "metadata".into() })
        );
    }

    #[test]
    fn delete_options_are_those_of_every_group() {
        let decoded = decode(&enveloped("policy/v1", "DeleteOptions", &[1 << 3, 5])).unwrap();
        assert_eq!(decoded["gracePeriodSeconds"], 5);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            kind in prop::sample::select(vec![("v1", "Pod"), ("apps/v1", "Deployment"), ("apiextensions.k8s.io/v1", "CustomResourceDefinition")]),
            raw in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let _: Result<Value, ProtobufError> = decode(&enveloped(kind.0, kind.1, &raw));
        }
    }
}
