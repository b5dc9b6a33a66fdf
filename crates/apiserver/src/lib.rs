//! A Kubernetes-compatible API server as a library: store, watch, patch, tables, streams.

mod auth;
pub mod client;
mod error;
mod http;
pub mod kinds;
pub mod patch;
pub mod protobuf;
pub mod schema;
pub mod select;
mod store;
pub mod table;
pub mod tls;

pub use auth::TokenKey;
pub use error::{ApiError, FieldError, FieldErrorReason, GroupKind, GroupResource, StatusCause};
pub use store::{Durability, StoreError};
