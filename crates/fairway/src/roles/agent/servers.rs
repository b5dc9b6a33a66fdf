//! Small servers the agent runs on its node: as many as the plan wants.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};

use compile::plan::{HealthCheck, NodePort};
use model::{NamespacedName, SharedMap};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What of a plan is served by the agent and not by the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Served {
    /// Health checks by their Service.
    pub(super) health_checks: SharedMap<NamespacedName, HealthCheck>,
    /// This node's addresses at which they are answered; none when those are all it has.
    pub(super) health_check_addresses: Option<Vec<IpAddr>>,
    /// Node ports that have endpoints, and this node's addresses that serve them.
    pub(super) node_ports: SharedMap<NodePort, Vec<IpAddr>>,
}

/// Tasks by what they serve.
#[derive(Debug)]
pub(super) struct Servers<K> {
    cancel: CancellationToken,
    running: BTreeMap<K, Running>,
}

#[derive(Debug)]
struct Running {
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl<K: Ord + Clone> Servers<K> {
    /// None yet; all of them end with `cancel`.
    pub(super) fn new(cancel: CancellationToken) -> Self {
        Self { cancel, running: BTreeMap::new() }
    }

    /// Makes exactly `wanted` run. What is wanted no more has ended, and given up its port, before anything starts;
    /// what ended by itself starts again.
    pub(super) async fn keep(&mut self, wanted: &BTreeSet<K>, start: impl Fn(&K, CancellationToken) -> JoinHandle<()>) {
        let ended = self.running.extract_if(.., |key, running| !wanted.contains(key) || running.task.is_finished());
        for (_, running) in ended.collect::<Vec<_>>() {
            running.end().await;
        }
        for key in wanted {
            self.running.entry(key.clone()).or_insert_with(|| {
                let cancel = self.cancel.child_token();
                Running { task: start(key, cancel.clone()), cancel }
            });
        }
    }

    /// Ends them all.
    pub(super) async fn end(self) {
        for running in self.running.into_values() {
            running.end().await;
        }
    }
}

impl Running {
    async fn end(self) {
        self.cancel.cancel();
        if let Err(error) = self.task.await {
            tracing::warn!(%error, "a server of the agent ended abnormally");
        }
    }
}

/// Listens at an address of one family: the unspecified address of IPv6 does not mean that of IPv4 too.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    const BACKLOG: u32 = 128;
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if address.is_ipv6() {
        setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
    }
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
