//! A Kubernetes-compatible API server as a library: store, watch, patch, tables, streams.
//!
//! It stores the objects of a cluster and answers `kubectl`, controllers and every other client of the Kubernetes API
//! as a Kubernetes API server does: the same defaults, the same validation, the same words when it refuses. It runs
//! inside your process, starts in milliseconds, needs neither etcd nor containers, and what it acknowledged survives
//! `kill -9`. It brings no controllers and no nodes: a Deployment makes no pods unless a controller of yours does.
//!
//! # A cluster in a test
//!
//! ```
//! use std::os::unix::net::UnixListener;
//! use std::sync::Arc;
//!
//! use apiserver::client::{CONFIG_MAPS, Client};
//! use apiserver::tls::Authority;
//! use apiserver::{Config, Durability, Limits, Listener, NoNodes, Server, Version};
//! use jiff::Timestamp;
//! use serde_json::json;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let directory = tempfile::tempdir()?;
//! let authority = Authority::create(Timestamp::now())?;
//! let socket = directory.path().join("api.sock");
//! let server = Server::start(Config {
//!     database: directory.path().join("objects.redb"),
//!     durability: Durability::Process,
//!     listeners: vec![Listener::Unix(UnixListener::bind(&socket)?)],
//!     token_key: authority.token_key()?,
//!     authority_pem: authority.certificate_pem().to_owned(),
//!     advertise: "192.0.2.1:6443".parse()?,
//!     service_cidrs: vec!["10.96.0.0/16".parse()?],
//!     node_ports: 30000..=32767,
//!     nodes: Arc::new(NoNodes),
//!     version: Version { git_version: "v1.36.0".into() },
//!     clock: Arc::new(Timestamp::now),
//!     limits: Limits::default(),
//! })
//! .await?;
//!
//! let client = Client::unix(&socket);
//! let settings = json!({ "metadata": { "name": "settings" }, "data": { "colour": "blue" } });
//! client.create(&CONFIG_MAPS, "default", &settings).await?;
//! let stored = client.get(&CONFIG_MAPS, "default", "settings").await?;
//! assert_eq!(stored["data"]["colour"], "blue");
//! assert_eq!(stored["kind"], "ConfigMap");
//! server.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! With a [`Listener::Tls`] and a [`tls::Kubeconfig`] `kubectl` is a client too: `examples/serve.rs` is a whole server.
//!
//! # Rooms
//!
//! Requests come in through `http` and become calls of `verbs`; each verb reads a snapshot of the `store` or runs as
//! one of its writes. What kinds there are and what their rules say stands in [`kinds`], pure functions over JSON; so
//! are [`schema`], [`patch`], [`protobuf`], [`select`] and [`table`]. [`client`] is the other end.
//!
//! CustomResourceDefinitions make further kinds, with everything the built-in ones have but strategic merge patches.
//! What is not there: webhooks (of admission and conversion), the evaluation of `x-kubernetes-validations` (they are
//! stored, and whoever writes them is warned), port-forward, and SPDY, which kubectl before 1.31 streams with.

mod admission;
mod api;
mod auth;
mod bootstrap;
mod catalog;
pub mod client;
mod discovery;
mod error;
mod expiry;
mod http;
mod ids;
pub mod kinds;
mod metrics;
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
