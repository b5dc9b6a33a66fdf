//! The API server of a sandbox: reached from the host, from the nodes, and by the sandbox's own parts.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use apiserver::tls::{Authority, ServerName};
use apiserver::{Config, Durability, Limits, Listener, Server, UnixNodes, Version};
use jiff::Timestamp;
use sandbox::machine::{RoleArgs, Spec};
use tokio_util::sync::CancellationToken;

use crate::apply::API_PORT_FOR_NODES;

/// The names by which pods know the API server.
const NAMES: [&str; 5] =
    ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"];
/// The Kubernetes this API is that of.
pub(super) const GIT_VERSION: &str = "v1.36.0+fairway";

/// Serves until told to end. Standard input is the listener on the host's loopback.
pub fn run(args: &RoleArgs) -> Result<()> {
    let config = configure(args)?;
    super::until_told(|cancel| serve(config, cancel))
}

async fn serve(config: Config, cancel: CancellationToken) -> Result<()> {
    let running = Server::start(config).await?;
    cancel.cancelled().await;
    running.stop().await;
    Ok(())
}

fn configure(args: &RoleArgs) -> Result<Config> {
    let (state, spec) = (args.state(), args.spec());
    let authority = Authority::load_or_create(&state.api_dir(), Timestamp::now())?;
    let tls = authority.server_config(&server_names(spec))?;
    let advertise = SocketAddr::new(spec.gateways()[0], API_PORT_FOR_NODES);
    let mut listeners = vec![
        Listener::Tls(host_listener().context("standard input is no listener")?, Arc::clone(&tls)),
        Listener::Unix(private_socket(&state.api_socket())?),
    ];
    for gateway in spec.gateways() {
        let address = SocketAddr::new(gateway, API_PORT_FOR_NODES);
        let listener = TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
        listeners.push(Listener::Tls(listener, Arc::clone(&tls)));
    }
    Ok(Config {
        database: state.api_dir().join("objects.redb"),
        // A machine that ends takes the sandbox with it, so only the end of the process must be survived.
        durability: Durability::Process,
        listeners,
        token_key: authority.token_key()?,
        authority_pem: authority.certificate_pem().to_owned(),
        advertise,
        service_cidrs: spec.service_cidrs().to_vec(),
        node_ports: 30000..=32767,
        nodes: Arc::new(UnixNodes::new(state.path().join("nodes"))),
        version: Version { git_version: GIT_VERSION.to_owned() },
        clock: Arc::new(Timestamp::now),
        limits: Limits::default(),
    })
}

fn server_names(spec: &Spec) -> Vec<ServerName> {
    let addresses = spec.gateways().into_iter().chain(spec.kubernetes_services());
    let addresses = addresses.chain([IpAddr::V4(Ipv4Addr::LOCALHOST)]);
    let names = NAMES.iter().map(|name| ServerName::Dns((*name).to_owned()));
    names.chain(addresses.map(ServerName::Ip)).collect()
}

/// The listener that `up` opened on the host and every process since has handed on.
fn host_listener() -> io::Result<TcpListener> {
    let listener = TcpListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    listener.local_addr()?;
    Ok(listener)
}

/// A socket only its owner can open, in place of one that a killed server left.
fn private_socket(path: &Path) -> Result<UnixListener> {
    let bind = || {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        Ok(listener)
    };
    bind().with_context(|| format!("cannot listen on {}", path.display()))
}
