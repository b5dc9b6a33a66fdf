//! The server as its users see it: configured, started, stopped.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use serde_json::json;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::{self, Admission};
use crate::api::{Api, Clock};
use crate::auth::{TokenKey, Tokens};
use crate::bootstrap;
use crate::catalog::Catalog;
use crate::discovery::Document;
use crate::error::ApiError;
use crate::expiry;
use crate::http::Handler;
use crate::http::connection::{Connections, Source};
use crate::http::quota::{Limits, Quotas};
use crate::metrics::Metrics;
use crate::store::{Durability, LogLimits, Store, StoreError};
use crate::streams::NodeDialer;

/// How long connections have to finish what they are at when the server stops.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(3);

/// What a server needs.
pub struct Config {
    /// The database file, made if it is not there.
    pub database: PathBuf,
    /// What an acknowledged write survives.
    pub durability: Durability,
    /// Where clients connect.
    pub listeners: Vec<Listener>,
    /// Signs the tokens of service accounts.
    pub token_key: TokenKey,
    /// The certificate of the authority that signed the serving certificate (PEM), for clients inside the cluster.
    pub authority_pem: String,
    /// Where the API is reached from inside the cluster: the endpoint of the Service `kubernetes`, which has none if
    /// this is a loopback address.
    pub advertise: SocketAddr,
    /// Where cluster addresses of Services come from; the first address is that of the Service `kubernetes`.
    pub service_cidrs: Vec<IpNet>,
    /// Where node ports come from.
    pub node_ports: RangeInclusive<u16>,
    /// How nodes are reached, for logs and exec.
    pub nodes: Arc<dyn NodeDialer>,
    /// What `kubectl version` shows.
    pub version: Version,
    /// Tells the time.
    pub clock: Clock,
    /// How much the server holds for its clients.
    pub limits: Limits,
}

/// Where clients connect.
pub enum Listener {
    /// TLS; clients are known by certificate or token.
    Tls(std::net::TcpListener, Arc<rustls::ServerConfig>),
    /// Plain HTTP on a unix socket. Whoever can open it may do everything: guard it by its mode.
    Unix(std::os::unix::net::UnixListener),
}

/// The version a server says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// As in `v1.36.0+fairway`.
    pub git_version: String,
}

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database cannot be used.
    #[error("cannot use the database")]
    Store(#[from] StoreError),
    /// A listener cannot be used.
    #[error("cannot listen")]
    Listen(#[from] io::Error),
    /// The objects every cluster has cannot be made.
    #[error("cannot make the objects every cluster has")]
    Bootstrap(#[from] ApiError),
    /// The range of cluster addresses has no address for the API.
    #[error("cannot serve with the service range {range:?}: it has no usable address")]
    ServiceRange {
        /// The ranges that were given.
        range: Vec<IpNet>,
    },
}

/// A Kubernetes-compatible API server.
#[derive(Debug)]
pub struct Server;

/// A server that is running. Dropping it stops it abruptly; [`stop`](Running::stop) lets requests finish.
pub struct Running {
    handler: Arc<Handler>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    /// Opens the database, makes what every cluster has, and serves. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the database, a listener or the configuration cannot be used; nothing is served then.
    pub async fn start(config: Config) -> Result<Running, StartError> {
        let api_address = first_address(&config.service_cidrs)
            .ok_or_else(|| StartError::ServiceRange { range: config.service_cidrs.clone() })?;
        let history = LogLimits { events: config.limits.history_events, bytes: config.limits.history_bytes };
        let store = Store::open(&config.database, config.durability, history)?;
        let rules = admission::Rules {
            service_cidrs: config.service_cidrs,
            node_ports: config.node_ports,
            authority_pem: config.authority_pem,
        };
        let admission = Arc::new(Admission::new(&store, rules));
        let catalog = Catalog::new(config.advertise.to_string(), &store);
        let (store, tokens) = (Arc::new(store), Tokens::new(config.token_key));
        let api = Api { store, tokens, admission, catalog, clock: config.clock };
        let cluster = bootstrap::Cluster { api_address, advertise: config.advertise };
        cluster.create(&api).await?;
        let stop = CancellationToken::new();
        let metrics = Arc::new(Metrics::new());
        let handler = Arc::new(Handler {
            api,
            version: config.version.document(),
            nodes: config.nodes,
            quotas: Quotas::new(config.limits, metrics.clone()),
            metrics,
            limits: config.limits,
            stop: stop.clone(),
        });
        let tasks = TaskTracker::new();
        let slots = Arc::new(Semaphore::new(config.limits.connections));
        let connections = Connections { handler: handler.clone(), tasks: tasks.clone(), slots, stop: stop.clone() };
        for source in config.listeners.into_iter().map(Listener::into_source).collect::<Result<Vec<_>, _>>()? {
            tasks.spawn(connections.clone().accept_all(source));
        }
        let (expiring, expiry_stop) = (handler.clone(), stop.clone());
        tasks.spawn(async move { expiry::remove_old_events(&expiring.api, &expiry_stop).await });
        let (kept, keep_stop) = (handler.clone(), stop.clone());
        tasks.spawn(async move { cluster.keep(&kept.api, &keep_stop).await });
        tasks.close();
        Ok(Running { handler, stop, tasks })
    }
}

impl Running {
    /// The newest revision.
    pub fn revision(&self) -> u64 {
        self.handler.api.store.revision()
    }

    /// Ends when the server has been told to stop.
    pub async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// Stops: no new connections, watches end, requests being answered are finished within a few seconds.
    pub async fn stop(self) {
        self.stop.cancel();
        if tokio::time::timeout(SHUTDOWN_PATIENCE, self.tasks.wait()).await.is_err() {
            tracing::debug!("connections were still open at the end");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Listener {
    fn into_source(self) -> io::Result<Source> {
        Ok(match self {
            Self::Tls(listener, config) => {
                listener.set_nonblocking(true)?;
                Source::Tls(TcpListener::from_std(listener)?, TlsAcceptor::from(config))
            }
            Self::Unix(listener) => {
                listener.set_nonblocking(true)?;
                Source::Unix(UnixListener::from_std(listener)?)
            }
        })
    }
}

impl Version {
    fn document(&self) -> Document {
        let number = |index: usize| {
            let text = self.git_version.trim_start_matches('v').split('.').nth(index).unwrap_or_default();
            text.chars().take_while(char::is_ascii_digit).collect::<String>()
        };
        Document::new(&json!({
            "major": number(0), "minor": number(1), "gitVersion": self.git_version,
            "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z",
            "goVersion": "none", "compiler": "rustc", "platform": format!("linux/{}", platform()),
        }))
    }
}

/// The machine's architecture by the name Go programs know.
fn platform() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The address of the Service `kubernetes`: the first usable one.
fn first_address(ranges: &[IpNet]) -> Option<IpAddr> {
    // The hosts of an IPv6 range begin with the range's own address, which names all routers (RFC 4291, 2.6.1).
    let range = ranges.first()?;
    range.hosts().find(|address| *address != range.network())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_address_of_a_range_is_the_one_after_its_own() {
        let first = |range: &str| first_address(&[range.parse().unwrap()]).map(|address| address.to_string());
        assert_eq!(first("10.96.0.0/16").as_deref(), Some("10.96.0.1"));
        assert_eq!(first("fd00:10:96::/112").as_deref(), Some("fd00:10:96::1"));
    }
}
