//! Node ports at the loopback addresses.
//!
//! The kernel cannot translate what is sent to a loopback address so that its answer comes back, so the agent listens
//! there itself and passes on to the node's own address, where the rules do the rest. A server behind it sees the node
//! as the client, as it does for every node port under the policy Cluster.

mod tcp;
mod udp;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use compile::plan::NodePort;
use model::Protocol;
use tokio::sync::{Semaphore, watch};
use tokio::time::interval;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::servers::{Served, Servers};

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

/// Relays the node ports until `cancel`.
pub(super) async fn serve(mut served: watch::Receiver<Served>, cancel: CancellationToken) {
    let mut servers = Servers::new(cancel.clone());
    let mut retry = interval(RETRY);
    let places = Arc::new(Semaphore::new(MAX_CONVERSATIONS));
    loop {
        let wanted = relays(&served.borrow_and_update());
        servers
            .keep(&wanted, |relay, cancel| {
                let (relay, places) = (*relay, Arc::clone(&places));
                tokio::spawn(async move {
                    if let Err(error) = run(relay, places, cancel).await {
                        warn!(%error, address = %relay.from, protocol = %relay.protocol, "cannot serve a node port there");
                    }
                })
            })
            .await;
        tokio::select! {
            () = cancel.cancelled() => break,
            changed = served.changed() => if changed.is_err() { break },
            _ = retry.tick() => {}
        }
    }
    servers.end().await;
}

fn relays(served: &Served) -> BTreeSet<Relay> {
    let ports = served.node_ports.iter();
    ports.flat_map(|(port, addresses)| LOOPBACKS.into_iter().filter_map(|from| relay(*port, from, addresses))).collect()
}

/// Passes on to an address of the same family when the port is served there, else to one of the other.
fn relay(port: NodePort, from: IpAddr, addresses: &[IpAddr]) -> Option<Relay> {
    let same = addresses.iter().find(|address| address.is_ipv4() == from.is_ipv4());
    let to = same.or_else(|| addresses.first())?;
    let at = |address: IpAddr| SocketAddr::new(address, port.port.get());
    Some(Relay { protocol: port.protocol, from: at(from), to: at(*to) })
}

async fn run(relay: Relay, places: Arc<Semaphore>, cancel: CancellationToken) -> std::io::Result<()> {
    match relay.protocol {
        Protocol::Tcp => tcp::run(relay.from, relay.to, places, cancel).await,
        Protocol::Udp => udp::run(relay.from, relay.to, places, cancel).await,
        // No process without root can relay it, and nobody has asked for it at a loopback address.
        Protocol::Sctp => {
            cancel.cancelled().await;
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_stays_in_its_family_when_it_can() {
        let port = NodePort { protocol: Protocol::Tcp, port: 30_080.try_into().unwrap() };
        let passed_on = |from: &str, addresses: &[&str]| {
            let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
            relay(port, from.parse().unwrap(), &addresses).map(|relay| relay.to.to_string())
        };
        assert_eq!(passed_on("::1", &["10.89.0.1", "fd00::1"]).as_deref(), Some("[fd00::1]:30080"));
        assert_eq!(passed_on("::1", &["10.89.0.1"]).as_deref(), Some("10.89.0.1:30080"));
        assert_eq!(passed_on("127.0.0.1", &["10.89.0.1", "fd00::1"]).as_deref(), Some("10.89.0.1:30080"));
        assert_eq!(passed_on("127.0.0.1", &[]), None);
    }
}
