//! A node's streams: logs, exec and attach, served to the API server over HTTP and WebSocket.
//!
//! The node's runtime says where a container is ([`Containers`]); everything else happens here, on the files and the socket
//! of its shim, so streams survive a restart of the runtime no worse than the container does.

mod attach;
mod channel;
mod exec;
mod log_lines;
mod logs;
mod request;
mod server;
mod session;

pub use server::{StreamServer, serve};

use std::path::PathBuf;

use crate::shim::Place;

/// Knows the containers of a node.
pub trait Containers: Send + Sync + 'static {
    /// The newest instance of a container.
    ///
    /// # Errors
    /// When the node runs no such pod or the pod has no such container.
    fn find(&self, namespace: &str, pod: &str, container: &str) -> Result<Container, ContainerNotFound>;
}

/// One instance of a container, as far as streams need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its directory.
    pub place: Place,
    /// Its log.
    pub log: PathBuf,
    /// The log of the instance before it, when there was one.
    pub previous_log: Option<PathBuf>,
    /// Whether it runs on a terminal.
    pub terminal: bool,
    /// Whether its standard input is open to those who attach.
    pub stdin: bool,
}

/// The node has no such container.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ContainerNotFound {
    /// In the kubelet's words.
    pub message: String,
}
