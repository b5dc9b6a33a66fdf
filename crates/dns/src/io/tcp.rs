//! Answering over TCP (RFC 7766): any number of queries on a connection, answered in order.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::listener::SharedRoutes;
use super::resolver::{Arrivals, Step, begin};

/// How many connections may be open on a listener; more wait in its queue.
const MAX_CONNECTIONS: usize = 512;
/// How long a client may take to send a query, and to take an answer.
const IDLE: Duration = Duration::from_secs(10);
/// The pause after a failure to accept, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections until dropped; those open end on `cancel`.
pub(super) async fn accept(listener: TcpListener, routes: SharedRoutes, tasks: TaskTracker, cancel: CancellationToken) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, client)) => {
                let (routes, cancel, renewals) = (Arc::clone(&routes), cancel.clone(), tasks.clone());
                tasks.spawn(async move {
                    let _place = place;
                    let serving = serve(stream, client, (&routes, &renewals));
                    if let Some(Err(error)) = cancel.run_until_cancelled(serving).await {
                        debug!(%client, %error, "connection ended early");
                    }
                });
            }
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    client: SocketAddr,
    (routes, tasks): (&SharedRoutes, &TaskTracker),
) -> io::Result<()> {
    let mut arrivals = Arrivals::over_tcp();
    let mut stream = BufReader::new(stream);
    let mut response = Vec::new();
    while let Some(packet) = timeout(IDLE, read_message(&mut stream)).await?? {
        let arrival = arrivals.note(client, Instant::now());
        let step = begin(&routes.load(), &packet, arrival, &mut response);
        let renewal = match step {
            Step::Ignore => return Ok(()),
            Step::Send => None,
            Step::SendAndRenew(renewal) => Some(renewal),
            Step::Wait(pending) => {
                let (answer, renewal) = pending.finish().await;
                response = answer;
                renewal
            }
        };
        if let Some(renewal) = renewal {
            tasks.spawn(renewal.run());
        }
        let length = u16::try_from(response.len()).map_err(|_| io::ErrorKind::InvalidData)?;
        let message = [&length.to_be_bytes(), response.as_slice()].concat();
        timeout(IDLE, stream.write_all(&message)).await??;
    }
    Ok(())
}

/// The next message, or nothing when the client has closed the connection between two.
async fn read_message(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let length = match stream.read_u16().await {
        Ok(length) => usize::from(length),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut packet = vec![0; length];
    stream.read_exact(&mut packet).await?;
    Ok(Some(packet))
}

#[cfg(test)]
mod tests {
    use arc_swap::ArcSwap;
    use tokio::io::duplex;

    use super::*;
    use crate::io::listener::Routes;
    use crate::metrics::Metrics;

    /// A query for the addresses of `a.`, as it travels over TCP.
    const QUERY: &[u8] = b"\0\x13\0\x01\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01";

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_loses_its_connection() {
        let address: SocketAddr = "127.0.0.1:53".parse().unwrap();
        let routes = Arc::new(ArcSwap::from_pointee(Routes::at(address, &[], &Metrics::default())));
        let (mut client, stream) = duplex(QUERY.len());
        let (queries, tasks) = (QUERY.repeat(2), TaskTracker::new());
        let serving = timeout(IDLE * 10, serve(stream, address, (&routes, &tasks)));
        let (outcome, written) = tokio::join!(serving, client.write_all(&queries));
        written.unwrap();
        let error = outcome.expect("an end").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
