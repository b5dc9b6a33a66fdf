//! Connections.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Loss, Relay};

/// How long the other end may take to accept: as long as a client waits for a first answer or two.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How long a connection may last. Ends that are gone are found by keepalive long before.
const CONNECTION_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);
/// The pause after a failure to accept, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections that were accepted, which may outlive whoever accepted them.
#[derive(Clone, Debug)]
pub struct Connections {
    tasks: TaskTracker,
    cancel: CancellationToken,
}

impl Connections {
    /// None yet; all of them end with `cancel`.
    pub fn until(cancel: CancellationToken) -> Self {
        Self { tasks: TaskTracker::new(), cancel }
    }

    /// Waits for the end of all.
    pub async fn end(self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Accepts and passes on until cancelled. Without a free place a connection is closed at once.
pub async fn relay_connections(listener: TcpListener, relay: Relay) {
    let connections = Connections::until(relay.cancel.clone());
    accept_connections(listener, relay, &connections).await;
    connections.end().await;
}

/// Accepts until cancelled, and passes on for as long as `connections` are. Without a free place a connection is closed at
/// once.
pub async fn accept_connections(listener: TcpListener, relay: Relay, connections: &Connections) {
    let Relay { from, tell, .. } = relay;
    let accepting = async {
        loop {
            let client = match listener.accept().await {
                Ok((client, _)) => client,
                Err(source) => {
                    tell(&Loss::Accept { from, source });
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&relay.places).try_acquire_owned() else {
                tell(&Loss::Full { from });
                continue;
            };
            let to = relay.to;
            connections.tasks.spawn(connections.cancel.clone().run_until_cancelled_owned(async move {
                if let Err(loss) = pass_on(client, from, to).await {
                    tell(&loss);
                }
                drop(place);
            }));
        }
    };
    relay.cancel.run_until_cancelled(accepting).await;
}

async fn pass_on(mut client: TcpStream, from: SocketAddr, to: SocketAddr) -> Result<(), Loss> {
    let unreached = |source| Loss::Unreached { from, to, source };
    let broken_off = |source| Loss::BrokenOff { from, source };
    let connected = timeout(CONNECT_LIMIT, TcpStream::connect(to)).await;
    let mut server = connected.map_err(|elapsed| unreached(elapsed.into()))?.map_err(unreached)?;
    for stream in [&client, &server] {
        stream.set_nodelay(true).map_err(broken_off)?;
        setsockopt(stream, sockopt::KeepAlive, &true).map_err(|errno| broken_off(io::Error::from(errno)))?;
    }
    let copied = timeout(CONNECTION_LIMIT, copy_bidirectional(&mut client, &mut server)).await;
    copied.map_err(|elapsed| broken_off(elapsed.into()))?.map_err(broken_off)?;
    Ok(())
}
