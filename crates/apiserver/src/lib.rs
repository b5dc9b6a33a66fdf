//! A Kubernetes-compatible API server as a library: store, watch, patch, tables, streams.

mod admission;
mod api;
mod auth;
mod bootstrap;
pub mod client;
mod discovery;
mod error;
mod http;
mod ids;
pub mod kinds;
pub mod patch;
pub mod protobuf;
mod render;
pub mod schema;
pub mod select;
mod server;
mod store;
mod streams;
pub mod table;
pub mod tls;
mod verbs;

pub use api::Clock;
pub use auth::TokenKey;
pub use error::{ApiError, FieldError, FieldErrorReason, GroupKind, GroupResource, StatusCause};
pub use http::quota::Limits;
pub use server::{Config, Listener, Running, Server, StartError, Version};
pub use store::{Durability, StoreError};
pub use streams::{NoNodes, NodeDialer, NodeStream, UnixNodes};
