//! What the kinds look like: field types, strict checks of bodies, OpenAPI documents.
//!
//! Everything here is pure. The facts come from `schema/types.json`, a table generated from the public
//! Kubernetes API types by `lab/wire-schema`; descriptions come from `k8s-openapi`.

mod decode;
mod document;
mod gvk;
mod kind;
mod mismatch;
mod normal;
mod openapi;
mod openapi_v2;
mod quantity;
mod strict;
pub(crate) mod structure;
pub(crate) mod table;

pub use decode::{DecodeError, Decoded, decode_body};
pub use gvk::Gvk;
pub use kind::Kind;
pub use mismatch::{TypeMismatch, check_types};
pub use normal::normalize;
pub(crate) use openapi::custom_documents;
pub use openapi::{openapi_document, openapi_index};
pub use openapi_v2::{OPENAPI_V2_JSON, OPENAPI_V2_PROTOBUF, OPENAPI_V2_PROTOBUF_ASKED, OPENAPI_V2_PROTOBUF_TYPE};
pub use quantity::Quantity;
pub use strict::{strict_decoding_error, unknown_fields};
