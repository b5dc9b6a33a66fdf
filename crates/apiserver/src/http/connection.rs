//! Connections: accepted, secured, served until the client or the server ends them.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Handler;
use super::authenticate::Peer;
use crate::auth::identity_of_certificate;

/// How long a client may take for the TLS handshake.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);
/// How long a connection from the network may be idle, the headers of the next request included. Longer than the pools
/// of clients keep connections, so that it is them who close, and not us while a request is on its way.
const IDLE_PATIENCE: Duration = Duration::from_secs(120);
/// How often a silent HTTP/2 client is asked whether it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// How long to wait after the system could not give us another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Requests one HTTP/2 connection may have open.
const STREAMS_PER_CONNECTION: u32 = 250;

/// Where connections come from.
pub(crate) enum Source {
    Tls(TcpListener, TlsAcceptor),
    Unix(UnixListener),
}

/// What all connections share.
#[derive(Clone)]
pub(crate) struct Connections {
    pub handler: Arc<Handler>,
    pub tasks: TaskTracker,
    pub slots: Arc<Semaphore>,
    pub stop: CancellationToken,
}

impl Connections {
    /// Accepts until the server stops.
    pub async fn accept_all(self, source: Source) {
        loop {
            let Ok(slot) = self.slots.clone().acquire_owned().await else { return };
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = self.accept(&source) => accepted,
            };
            match accepted {
                Ok(serve) => drop(self.tasks.spawn(async move {
                    serve.await;
                    drop(slot);
                })),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn accept(&self, source: &Source) -> io::Result<futures::future::BoxFuture<'static, ()>> {
        let connections = self.clone();
        Ok(match source {
            Source::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Box::pin(connections.serve(Peer::Trusted, stream))
            }
            Source::Tls(listener, acceptor) => {
                let (stream, address) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let handshake = acceptor.accept(stream);
                Box::pin(async move {
                    match tokio::time::timeout(HANDSHAKE_PATIENCE, handshake).await {
                        Ok(Ok(stream)) => connections.serve(peer_of(&stream), stream).await,
                        Ok(Err(error)) => tracing::debug!(%address, %error, "TLS handshake failed"),
                        Err(_) => tracing::debug!(%address, "TLS handshake took too long"),
                    }
                })
            }
        })
    }

    async fn serve(self, peer: Peer, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let handler = self.handler;
        let trusted = matches!(peer, Peer::Trusted);
        let service = service_fn(|request| {
            let (handler, peer) = (handler.clone(), peer.clone());
            async move { Ok::<_, Infallible>(handler.handle(&peer, request).await) }
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        let idle = if trusted { None } else { Some(IDLE_PATIENCE) };
        builder.http1().timer(TokioTimer::new()).header_read_timeout(idle);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_PER_CONNECTION)
            .keep_alive_interval(PING_INTERVAL);
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            tracing::debug!(error, "connection ended");
        }
    }
}

/// The client's certificate has been verified by the handshake.
fn peer_of<S>(stream: &TlsStream<S>) -> Peer {
    let (_, session) = stream.get_ref();
    let certificate = session.peer_certificates().and_then(|chain| chain.first());
    Peer::Tls(certificate.and_then(|certificate| identity_of_certificate(certificate)))
}
