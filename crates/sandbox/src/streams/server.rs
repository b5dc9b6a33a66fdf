//! The server: HTTP/1.1 on a unix socket, as the API server speaks it to nodes.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{
    CONNECTION, CONTENT_TYPE, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_util::sync::CancellationToken;

use super::channel::choose_protocol;
use super::request::{Action, BadRequest, LogQuery, StreamRequest};
use super::{Container, Containers, attach, exec, logs, session};

/// How many streams a node serves at once.
const MAX_STREAMS: usize = 256;
/// How many messages wait between a client and a container.
const QUEUE: usize = 16;
/// The largest message of a client.
const MAX_MESSAGE: usize = 1 << 20;

type Body = BoxBody<Bytes, Infallible>;

/// What a node's stream server needs.
#[derive(Clone)]
pub struct StreamServer {
    /// Who knows the containers.
    pub containers: Arc<dyn Containers>,
    /// This program, which is started again for every command in a container.
    pub program: PathBuf,
}

/// Serves until cancelled; streams that are open then end with their clients.
pub async fn serve(listener: UnixListener, server: StreamServer, cancel: CancellationToken) {
    let streams = Arc::new(Semaphore::new(MAX_STREAMS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = cancel.cancelled() => return,
        };
        match accepted {
            Ok((connection, _)) => {
                tokio::spawn(serve_connection(connection, server.clone(), Arc::clone(&streams)));
            }
            Err(error) => tracing::warn!(%error, "cannot accept a stream"),
        }
    }
}

async fn serve_connection(connection: UnixStream, server: StreamServer, streams: Arc<Semaphore>) {
    let service = service_fn(move |request| {
        let (server, permit) = (server.clone(), Arc::clone(&streams).try_acquire_owned().ok());
        async move { Ok::<_, Infallible>(answer(&server, request, permit)) }
    });
    let served = http1::Builder::new().serve_connection(TokioIo::new(connection), service).with_upgrades().await;
    if let Err(error) = served {
        tracing::debug!(%error, "stream connection ended");
    }
}

fn answer(server: &StreamServer, request: Request<Incoming>, permit: Option<OwnedSemaphorePermit>) -> Response<Body> {
    let Some(permit) = permit else {
        return refused(StatusCode::TOO_MANY_REQUESTS, &format!("the node serves {MAX_STREAMS} streams already"));
    };
    let uri = request.uri();
    let parsed = StreamRequest::parse(uri.path(), uri.query().unwrap_or_default(), jiff::Timestamp::now());
    let asked = match parsed {
        Ok(asked) => asked,
        Err(error @ BadRequest::Path) => return refused(StatusCode::NOT_FOUND, &error.to_string()),
        Err(error) => return refused(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let container = match server.containers.find(&asked.namespace, &asked.pod, &asked.container) {
        Ok(container) => container,
        Err(error) => return refused(StatusCode::NOT_FOUND, &error.to_string()),
    };
    match asked.action {
        Action::Logs(query) => send_log(container, query, &asked.container, permit),
        action => open_session(server, container, action, request, permit),
    }
}

fn send_log(container: Container, query: LogQuery, name: &str, permit: OwnedSemaphorePermit) -> Response<Body> {
    let log = match logs::choose_log(&container, &query, name) {
        Ok(log) => log,
        Err(message) => return refused(StatusCode::BAD_REQUEST, &message),
    };
    let (sender, receiver) = mpsc::channel::<Bytes>(QUEUE);
    tokio::spawn(async move {
        if let Err(error) = logs::send(container, log, query, sender).await {
            tracing::debug!(%error, "cannot read a log");
        }
        drop(permit);
    });
    let frames = stream::unfold(receiver, |mut receiver| async {
        let bytes = receiver.recv().await?;
        Some((Ok::<_, Infallible>(Frame::data(bytes)), receiver))
    });
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(frames)));
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("text/plain"));
    response
}

/// Answers the WebSocket handshake of exec or attach and carries the session on in a task of its own.
fn open_session(
    server: &StreamServer,
    container: Container,
    action: Action,
    mut request: Request<Incoming>,
    permit: OwnedSemaphorePermit,
) -> Response<Body> {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let Some(key) = header(SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes())) else {
        return refused(StatusCode::BAD_REQUEST, "Upgrade request required");
    };
    let Some(protocol) = header(SEC_WEBSOCKET_PROTOCOL).and_then(choose_protocol) else {
        return refused(
            StatusCode::BAD_REQUEST,
            "none of the offered protocols is spoken: v5.channel.k8s.io, v4.channel.k8s.io",
        );
    };
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(carry(upgrade, server.program.clone(), container, action, permit));
    let response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_ACCEPT, key)
        .header(SEC_WEBSOCKET_PROTOCOL, protocol)
        .body(BodyExt::boxed(Full::default()));
    response.unwrap_or_else(|error| refused(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()))
}

async fn carry(
    upgrade: OnUpgrade,
    program: PathBuf,
    container: Container,
    action: Action,
    permit: OwnedSemaphorePermit,
) {
    let upgraded = match upgrade.await {
        Ok(upgraded) => TokioIo::new(upgraded),
        Err(error) => return tracing::debug!(%error, "client left during the handshake"),
    };
    let limits = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
    let socket = WebSocketStream::from_raw_socket(upgraded, Role::Server, Some(limits)).await;
    let (to_container, input) = mpsc::channel(QUEUE);
    let (output, to_client) = mpsc::channel(QUEUE);
    let container_side = async {
        match action {
            Action::Exec { command, streams } => {
                exec::Execution { program, container, command, streams }.run(input, output).await;
            }
            Action::Attach(streams) => attach::run(&container, streams, input, output).await,
            Action::Logs(_) => {}
        }
    };
    tokio::join!(session::run(socket, to_container, to_client), container_side);
    drop(permit);
}

fn refused(status: StatusCode, message: &str) -> Response<Body> {
    let mut response = Response::new(BodyExt::boxed(Full::from(message.to_owned())));
    *response.status_mut() = status;
    response
}
