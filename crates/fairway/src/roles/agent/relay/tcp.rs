//! Connections.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::roles::agent::servers::listen;

/// How long the node's own address may take to accept: as long as a client waits for a first answer or two.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How long a connection may last. Ends that are gone are found by keepalive long before.
const CONNECTION_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);
/// The pause after a failure to accept, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts at `from` and passes on to `to` until `cancel`. Without a free place a connection is closed at once.
pub(super) async fn run(
    from: SocketAddr,
    to: SocketAddr,
    places: Arc<Semaphore>,
    cancel: CancellationToken,
) -> io::Result<()> {
    let listener = listen(from)?;
    let tasks = TaskTracker::new();
    let accepting = async {
        loop {
            let client = match listener.accept().await {
                Ok((client, _)) => client,
                Err(error) => {
                    warn!(%error, address = %from, "cannot accept a connection to a node port");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                warn!(address = %from, "too many connections to node ports at loopback addresses");
                continue;
            };
            tasks.spawn(cancel.clone().run_until_cancelled_owned(async move {
                if let Err(error) = pass_on(client, to).await {
                    debug!(%error, %from, "a connection to a node port ended");
                }
                drop(place);
            }));
        }
    };
    cancel.run_until_cancelled(accepting).await;
    tasks.close();
    tasks.wait().await;
    Ok(())
}

async fn pass_on(mut client: TcpStream, to: SocketAddr) -> io::Result<()> {
    let mut server = timeout(CONNECT_LIMIT, TcpStream::connect(to)).await??;
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
        setsockopt(stream, sockopt::KeepAlive, &true)?;
    }
    timeout(CONNECTION_LIMIT, copy_bidirectional(&mut client, &mut server)).await??;
    Ok(())
}
