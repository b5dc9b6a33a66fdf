//! Node ports at the loopback addresses, and host ports at that of IPv6.
//!
//! The kernel cannot translate what is sent to a loopback address so that its answer comes back, so the agent listens
//! there itself and passes on to the node's own address, where the rules do the rest. A server behind it sees the node
//! as the client, as it does for every node port under the policy Cluster. Host ports at 127.0.0.1 the kernel can
//! translate, since pods have links of their own; at ::1 it cannot.

mod records;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use compile::host_ports::HostPort;
use compile::plan::NodePort;
use model::Protocol;
use tokio::net::UdpSocket;
use tokio::sync::{Semaphore, watch};
use tokio::time::interval;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::relay::{self, Connections, Loss};

use super::servers::{Served, Servers, listen};
use records::Records;

/// How often a port that somebody else had is tried again.
const RETRY: Duration = Duration::from_secs(30);
/// How many connections and conversations there may be at once, over all ports.
const MAX_CONVERSATIONS: usize = 1024;
/// The addresses people mean by localhost.
const LOOPBACKS: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// A loopback address, the port there, and where to pass it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Relay {
    protocol: Protocol,
    from: SocketAddr,
    to: SocketAddr,
}

/// Relays node ports that have endpoints, and the host ports in `cni_state_dir`, until `cancel`. Connections
/// outlive the relay that accepted them, as they would in the kernel.
pub(super) async fn serve(mut served: watch::Receiver<Served>, cni_state_dir: PathBuf, cancel: CancellationToken) {
    let mut host_ports = Records::new(cni_state_dir);
    let mut servers = Servers::new(cancel.clone());
    let mut retry = interval(RETRY);
    let places = Arc::new(Semaphore::new(MAX_CONVERSATIONS));
    let connections = Connections::until(cancel.clone());
    loop {
        let wanted = relays(&served.borrow_and_update(), host_ports.known());
        servers
            .keep(&wanted, |relay, cancel| {
                let (relay, places, connections) = (*relay, Arc::clone(&places), connections.clone());
                tokio::spawn(async move {
                    if let Err(error) = run(relay, places, &connections, cancel).await {
                        warn!(%error, address = %relay.from, protocol = %relay.protocol, "cannot serve a port of the node there");
                    }
                })
            })
            .await;
        tokio::select! {
            () = cancel.cancelled() => break,
            changed = served.changed() => if changed.is_err() { break },
            () = host_ports.changed() => {}
            _ = retry.tick() => {}
        }
    }
    servers.end().await;
    connections.end().await;
}

/// What is both a node port and a host port is the Service's, as in the kernel.
fn relays(served: &Served, host_ports: &[HostPort]) -> BTreeSet<Relay> {
    let ports = served.node_ports.iter();
    let of_services = |(port, addresses): (&NodePort, &Vec<IpAddr>)| {
        LOOPBACKS.into_iter().filter_map(|from| relay_to_node(*port, from, addresses)).collect::<Vec<_>>()
    };
    let wanted = host_ports.iter().filter_map(relay_to_pod).chain(ports.flat_map(of_services));
    let by_listener: BTreeMap<_, _> = wanted.map(|relay| ((relay.protocol, relay.from), relay)).collect();
    by_listener.into_values().collect()
}

/// Passes on from ::1 to a pod.
fn relay_to_pod(port: &HostPort) -> Option<Relay> {
    let from = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let is_served = port.endpoint.is_ipv6() && port.address.is_none_or(|address| address == from);
    is_served.then(|| Relay {
        protocol: port.protocol,
        from: SocketAddr::new(from, port.port.get()),
        to: port.endpoint,
    })
}

/// Passes on to an address of the same family when the port is served there, else to one of the other.
fn relay_to_node(port: NodePort, from: IpAddr, addresses: &[IpAddr]) -> Option<Relay> {
    let same = addresses.iter().find(|address| address.is_ipv4() == from.is_ipv4());
    let to = same.or_else(|| addresses.first())?;
    let at = |address: IpAddr| SocketAddr::new(address, port.port.get());
    Some(Relay { protocol: port.protocol, from: at(from), to: at(*to) })
}

async fn run(
    port: Relay,
    places: Arc<Semaphore>,
    connections: &Connections,
    cancel: CancellationToken,
) -> std::io::Result<()> {
    let relay = relay::Relay { from: port.from, to: port.to, places, cancel: cancel.clone(), tell };
    match port.protocol {
        Protocol::Tcp => relay::accept_connections(listen(port.from)?, relay, connections).await,
        Protocol::Udp => relay::relay_datagrams(UdpSocket::bind(port.from).await?, relay).await,
        // No process without root can relay it, and nobody has asked for it at a loopback address.
        Protocol::Sctp => cancel.cancelled().await,
    }
    Ok(())
}

/// What a client does is no matter of the node's; that it cannot be served is.
fn tell(loss: &Loss) {
    match loss {
        Loss::Accept { .. } | Loss::Full { .. } => warn!("{loss}"),
        Loss::Unreached { .. } | Loss::BrokenOff { .. } => debug!("{loss}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_ports_are_relayed_at_the_loopback_address_of_ipv6_unless_a_service_has_them() {
        let host_port = |address: Option<&str>, port: u16, endpoint: &str| HostPort {
            address: address.map(|text| text.parse().unwrap()),
            protocol: Protocol::Tcp,
            port: port.try_into().unwrap(),
            endpoint: endpoint.parse().unwrap(),
        };
        let host_ports = [
            host_port(None, 80, "[fd00::5]:8080"),
            host_port(Some("::1"), 81, "[fd00::5]:8081"),
            host_port(Some("fd00::1"), 82, "[fd00::5]:8082"),
            host_port(None, 83, "10.244.1.5:8083"),
            host_port(None, 30_080, "[fd00::5]:8080"),
        ];
        let mut served = Served::default();
        let node_port = NodePort { protocol: Protocol::Tcp, port: 30_080.try_into().unwrap() };
        served.node_ports.insert(node_port, vec!["fd00::1".parse().unwrap()]);
        let relays = relays(&served, &host_ports).into_iter();
        let relays: Vec<_> = relays.map(|relay| format!("{} {}", relay.from, relay.to)).collect();
        let expected = [
            "127.0.0.1:30080 [fd00::1]:30080",
            "[::1]:80 [fd00::5]:8080",
            "[::1]:81 [fd00::5]:8081",
            "[::1]:30080 [fd00::1]:30080",
        ];
        assert_eq!(relays, expected);
    }

    #[test]
    fn a_relay_stays_in_its_family_when_it_can() {
        let port = NodePort { protocol: Protocol::Tcp, port: 30_080.try_into().unwrap() };
        let passed_on = |from: &str, addresses: &[&str]| {
            let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
            relay_to_node(port, from.parse().unwrap(), &addresses).map(|relay| relay.to.to_string())
        };
        assert_eq!(passed_on("::1", &["10.89.0.1", "fd00::1"]).as_deref(), Some("[fd00::1]:30080"));
        assert_eq!(passed_on("::1", &["10.89.0.1"]).as_deref(), Some("10.89.0.1:30080"));
        assert_eq!(passed_on("127.0.0.1", &["10.89.0.1", "fd00::1"]).as_deref(), Some("10.89.0.1:30080"));
        assert_eq!(passed_on("127.0.0.1", &[]), None);
    }
}
