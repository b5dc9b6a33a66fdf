//! A small HTTP/1.1 server and client for built-in programs.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How many connections one server keeps at a time; the next one waits in the listen queue.
const CONNECTIONS: usize = 4096;

/// How large a request's body may be.
const BODY_BYTES: usize = 16 << 20;

/// How long a client may take to send the head of a request.
const HEAD_PATIENCE: Duration = Duration::from_secs(30);

/// How long the server waits after the system ran out of file descriptors.
const EXHAUSTION_PAUSE: Duration = Duration::from_millis(50);

/// One request with its body.
pub struct Exchange {
    /// The method.
    pub method: Method,
    /// Path and query as sent.
    pub uri: Uri,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// Who asks.
    pub remote: SocketAddr,
}

impl Exchange {
    /// The first value of query or form parameter `name`, empty if there is none.
    pub fn parameter(&self, name: &str) -> String {
        let form = self
            .headers
            .get("content-type")
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
        let body = if form { String::from_utf8_lossy(&self.body) } else { "".into() };
        [body.as_ref(), self.uri.query().unwrap_or_default()]
            .into_iter()
            .flat_map(|pairs| pairs.split('&'))
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| decode(key) == name)
            .map(|(_, value)| decode(value))
            .unwrap_or_default()
    }
}

/// An answer with its whole body.
pub type Answer = Response<Full<Bytes>>;

/// An answer of `status` with a text body.
pub fn answer(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

/// Undoes the percent encoding of a query; what is no valid encoding stays as it is.
pub fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match (bytes[at], code.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Listens on `port` of every address, for both families where the host has both.
pub async fn listen(port: u16) -> io::Result<TcpListener> {
    match TcpListener::bind(("::", port)).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind(("0.0.0.0", port)).await,
    }
}

/// The address of a peer without the IPv6 dress of an IPv4 address.
pub fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Answers requests on `listener` with `handler` until `stop`; then finishes what is under way and returns.
pub async fn serve<H, F>(listener: TcpListener, stop: CancellationToken, handler: H)
where
    H: Fn(Exchange) -> F + 'static,
    F: Future<Output = Answer> + 'static,
{
    let handler = Rc::new(handler);
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &room) => accepted,
        };
        let Some((stream, remote, permit)) = accepted else { continue };
        let (handler, stop) = (handler.clone(), stop.clone());
        connections.spawn_local(async move {
            converse(stream, remote, stop, handler).await;
            drop(permit);
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, remote)) => Some((stream, plain(remote), permit)),
        Err(_) => {
            tokio::time::sleep(EXHAUSTION_PAUSE).await;
            None
        }
    }
}

async fn converse<H, F>(stream: TcpStream, remote: SocketAddr, stop: CancellationToken, handler: Rc<H>)
where
    H: Fn(Exchange) -> F + 'static,
    F: Future<Output = Answer> + 'static,
{
    // Without it a small answer may wait for the client's delayed acknowledgement; not having it only costs time.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| {
        let handler = handler.clone();
        async move {
            let (head, body) = request.into_parts();
            let answer = match Limited::new(body, BODY_BYTES).collect().await {
                Err(_) => answer(StatusCode::PAYLOAD_TOO_LARGE, "request body too large\n"),
                Ok(body) => {
                    let (method, uri, headers) = (head.method, head.uri, head.headers);
                    handler(Exchange { method, uri, headers, body: body.to_bytes(), remote }).await
                }
            };
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // How a conversation ends is the client's business.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

/// Sends a GET for `path` to `address` and gives back status and body. The error is one line for a user.
pub async fn get(address: SocketAddr, host: &str, path: &str) -> Result<(StatusCode, String), String> {
    let stream = TcpStream::connect(address).await.map_err(|error| format!("dial tcp {address}: connect: {error}"))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let request = Request::get(path)
        .header("host", host)
        .header("user-agent", "fairway")
        .header("connection", "close")
        .body(Full::<Bytes>::default())
        .map_err(|error| error.to_string())?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        Ok::<_, hyper::Error>((status, response.into_body().collect().await?.to_bytes()))
    };
    let (exchanged, _) = tokio::join!(exchange, connection);
    let (status, body) = exchanged.map_err(|error| error.to_string())?;
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

/// Runs `main` on a single-threaded runtime that can spawn local tasks.
pub fn run<F: Future<Output = ExitCode>>(main: F) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => tokio::task::LocalSet::new().block_on(&runtime, main),
        Err(error) => {
            super::journal::say(format!("cannot start: {error}"));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_broken_encodings_stay() {
        assert_eq!(decode("a%20b+c%2F%zz%4"), "a b c/%zz%4");
    }

    #[tokio::test]
    async fn a_request_under_way_is_finished_before_the_server_ends() {
        let stop = CancellationToken::new();
        let begun = stop.clone();
        tokio::task::LocalSet::new()
            .run_until(async move {
                let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
                let address = listener.local_addr().unwrap();
                let server = tokio::task::spawn_local(serve(listener, stop, move |exchange| {
                    begun.cancel();
                    async move { answer(StatusCode::OK, exchange.parameter("q")) }
                }));
                assert_eq!(get(address, "x", "/?q=a%26b").await, Ok((StatusCode::OK, "a&b".to_owned())));
                server.await.unwrap();
                assert!(get(address, "x", "/").await.is_err());
            })
            .await;
    }
}
