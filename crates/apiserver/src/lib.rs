//! A Kubernetes-compatible API server as a library: store, watch, patch, tables, streams.

pub mod client;
mod error;
pub mod kinds;
pub mod patch;
pub mod protobuf;
pub mod schema;
pub mod select;
mod store;
pub mod table;

pub use error::{ApiError, FieldError, FieldErrorReason, GroupKind, GroupResource, StatusCause};
pub use store::{Durability, StoreError};
