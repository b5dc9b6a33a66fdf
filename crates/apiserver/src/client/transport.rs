//! HTTP/1.1 over a unix socket with a bounded pool of kept connections.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response,
    body::Incoming,
    client::conn::http1::{self, SendRequest},
    header::{ACCEPT, HOST, HeaderName, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::UnixStream, sync::Semaphore};
use tokio_util::task::AbortOnDropHandle;

use super::{ClientError, StatusError, address::Address};

/// Requests in flight at once; more wait. Watches do not count.
const MAX_REQUESTS: usize = 32;
/// Longer than the server lets any request but a watch take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The connections to one server.
#[derive(Debug)]
pub(super) struct Transport {
    socket: PathBuf,
    idle: Mutex<Vec<Connection>>,
    permits: Semaphore,
}

/// One request, ready to send.
pub(super) struct Call {
    method: Method,
    address: Address,
    user_agent: String,
    content_type: Option<(HeaderName, &'static str)>,
    body: Bytes,
}

/// An answer whose body is still arriving on its own connection.
#[derive(Debug)]
pub(super) struct Streaming {
    body: Incoming,
    request: String,
    _connection: Connection,
}

#[derive(Debug)]
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    _driver: AbortOnDropHandle<()>,
}

impl Call {
    pub(super) fn new(method: Method, address: Address, user_agent: &str) -> Self {
        Self { method, address, user_agent: user_agent.to_owned(), content_type: None, body: Bytes::new() }
    }

    pub(super) fn set_body(&mut self, header: HeaderName, content_type: &'static str, body: Vec<u8>) {
        self.content_type = Some((header, content_type));
        self.body = Bytes::from(body);
    }

    /// Method and path, for messages.
    fn describe(&self) -> String {
        format!("{} {}", self.method, self.address.path())
    }

    fn into_request(self) -> Result<Request<Full<Bytes>>, ClientError> {
        let describe = self.describe();
        let mut request = Request::builder()
            .method(self.method)
            .uri(self.address.to_uri())
            .header(HOST, "localhost")
            .header(USER_AGENT, self.user_agent)
            .header(ACCEPT, "application/json, */*");
        if let Some((header, value)) = self.content_type {
            request = request.header(header, value);
        }
        request.body(Full::new(self.body)).map_err(|source| ClientError::Malformed { request: describe, source })
    }
}

impl Transport {
    pub(super) fn new(socket: PathBuf) -> Self {
        Self { socket, idle: Mutex::default(), permits: Semaphore::new(MAX_REQUESTS) }
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Sends a request and reads its JSON answer.
    pub(super) async fn json(&self, call: Call) -> Result<Value, ClientError> {
        let request = call.describe();
        let body = self.bytes(call).await?;
        serde_json::from_slice(&body).map_err(|source| ClientError::Decode { request, source })
    }

    /// Sends a request and reads its whole answer.
    pub(super) async fn bytes(&self, call: Call) -> Result<Bytes, ClientError> {
        // The semaphore is never closed: the result is always a permit.
        let _permit = self.permits.acquire().await;
        let request = call.describe();
        let exchange = self.exchange(call);
        tokio::time::timeout(REQUEST_TIMEOUT, exchange)
            .await
            .unwrap_or(Err(ClientError::Timeout { request, after: REQUEST_TIMEOUT }))
    }

    /// Sends a request whose answer goes on for long, on a connection of its own.
    pub(super) async fn stream(&self, call: Call) -> Result<Streaming, ClientError> {
        let request = call.describe();
        let mut connection = self.connect().await?;
        let message = call.into_request()?;
        let sent = tokio::time::timeout(REQUEST_TIMEOUT, connection.sender.send_request(message)).await;
        let response = match sent {
            Ok(sent) => sent.map_err(|source| lost(&request, source))?,
            Err(_) => return Err(ClientError::Timeout { request, after: REQUEST_TIMEOUT }),
        };
        let response = admit(response, &request).await?;
        Ok(Streaming { body: response.into_body(), request, _connection: connection })
    }

    async fn exchange(&self, call: Call) -> Result<Bytes, ClientError> {
        let request = call.describe();
        let (response, connection) = self.send(call.into_request()?, &request).await?;
        let body = read_all(response, &request).await;
        if !matches!(body, Err(ClientError::Transport { .. })) {
            self.keep(connection).await;
        }
        body
    }

    /// Sends on a kept connection if one is still alive, else on a new one; a request is never sent twice.
    async fn send(
        &self,
        mut message: Request<Full<Bytes>>,
        request: &str,
    ) -> Result<(Response<Incoming>, Connection), ClientError> {
        while let Some(mut connection) = self.take_idle() {
            match connection.sender.try_send_request(message).await {
                Ok(response) => return Ok((response, connection)),
                Err(mut refused) => match refused.take_message() {
                    Some(unsent) => message = unsent,
                    None => return Err(lost(request, refused.into_error())),
                },
            }
        }
        let mut connection = self.connect().await?;
        let response = connection.sender.send_request(message).await.map_err(|source| lost(request, source))?;
        Ok((response, connection))
    }

    async fn connect(&self) -> Result<Connection, ClientError> {
        let failed = |source| ClientError::Connect { socket: self.socket.clone(), source };
        let stream = UnixStream::connect(&self.socket).await.map_err(failed)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|source| ClientError::Transport { request: "handshake".to_owned(), source })?;
        let driver = tokio::spawn(async move {
            // Whoever waits for an answer on it learns of its failure there.
            let _ = connection.await;
        });
        Ok(Connection { sender, _driver: AbortOnDropHandle::new(driver) })
    }

    fn take_idle(&self) -> Option<Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    async fn keep(&self, mut connection: Connection) {
        if connection.sender.ready().await.is_ok() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
    }
}

impl Streaming {
    /// Method and path, for messages.
    pub(super) fn request(&self) -> &str {
        &self.request
    }

    /// The next piece of the body; `None` at its end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(source)) => return Err(lost(&self.request, source)),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }
}

/// The whole body of a success, or the refusal.
async fn read_all(response: Response<Incoming>, request: &str) -> Result<Bytes, ClientError> {
    read_body(admit(response, request).await?, request).await
}

/// The response if it is a success, else the refusal in its body.
async fn admit(response: Response<Incoming>, request: &str) -> Result<Response<Incoming>, ClientError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body = read_body(response, request).await?;
    Err(ClientError::Status(StatusError::from_body(status.as_u16(), &body)))
}

async fn read_body(response: Response<Incoming>, request: &str) -> Result<Bytes, ClientError> {
    let body = response.into_body().collect().await.map_err(|source| lost(request, source))?;
    Ok(body.to_bytes())
}

fn lost(request: &str, source: hyper::Error) -> ClientError {
    ClientError::Transport { request: request.to_owned(), source }
}
