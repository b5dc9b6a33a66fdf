//! The small HTTP pages on which a role says how it is.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

/// How long one connection may last: probes and scrapes are short.
const CONNECTION_LIMIT: Duration = Duration::from_secs(30);
/// How long a client may take for the head of its request.
const HEADER_LIMIT: Duration = Duration::from_secs(5);
/// How many connections are served at once.
const MAX_CONNECTIONS: usize = 64;
/// The pause after a failure to accept, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// One page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    status: StatusCode,
    content_type: &'static str,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Page {
    /// A page of text that says all is well.
    pub fn fine(body: impl Into<String>) -> Self {
        Self {
            status: StatusCode::OK,
            content_type: "text/plain; charset=utf-8",
            headers: Vec::new(),
            body: body.into(),
        }
    }

    /// A page of text that says what is not.
    pub fn unavailable(body: impl Into<String>) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, ..Self::fine(body) }
    }

    /// The same page with a body that is JSON.
    pub fn json(self) -> Self {
        Self { content_type: "application/json", ..self }
    }

    /// The same page with one more header, whose name is in small letters.
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Its status.
    #[cfg(test)]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// What it says.
    #[cfg(test)]
    pub fn body(&self) -> &str {
        &self.body
    }

    /// All metrics, as Prometheus reads them.
    pub fn metrics(registry: &Registry) -> Self {
        let mut body = String::new();
        match prometheus_client::encoding::text::encode(&mut body, registry) {
            Ok(()) => {
                Self { content_type: "application/openmetrics-text; version=1.0.0; charset=utf-8", ..Self::fine(body) }
            }
            Err(error) => Self { status: StatusCode::INTERNAL_SERVER_ERROR, ..Self::fine(error.to_string()) },
        }
    }

    fn into_response(self) -> Result<Response<Full<Bytes>>, hyper::http::Error> {
        let mut response = Response::builder().status(self.status).header(CONTENT_TYPE, self.content_type);
        for (name, value) in self.headers {
            response = response.header(name, value);
        }
        response.body(Full::from(self.body))
    }
}

/// A listener whose pages are not served yet; probes wait in it.
#[derive(Debug)]
pub struct StatusPages {
    listener: TcpListener,
}

impl StatusPages {
    /// Opens the listener.
    pub async fn bind(address: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(address).await;
        Ok(Self { listener: listener.with_context(|| format!("cannot listen on {address} for status pages"))? })
    }

    /// Pages for a listener that is open already.
    pub const fn of(listener: TcpListener) -> Self {
        Self { listener }
    }

    /// The address listened on.
    #[cfg(test)]
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("a bound listener has an address")
    }

    /// Serves `GET` of the pages that `find` has, by path, until `cancel`.
    pub async fn serve(self, find: impl Fn(&str) -> Option<Page> + Send + Sync + 'static, cancel: CancellationToken) {
        self.answer(move |method, path| respond(method, path, &find), cancel).await;
    }

    /// Serves one page, whatever is asked for and by whatever method, until `cancel`.
    pub async fn serve_one(self, page: impl Fn() -> Page + Send + Sync + 'static, cancel: CancellationToken) {
        self.answer(move |_, _| page(), cancel).await;
    }

    async fn answer(self, answer: impl Fn(&Method, &str) -> Page + Send + Sync + 'static, cancel: CancellationToken) {
        let (answer, places, tasks) = (Arc::new(answer), Arc::new(Semaphore::new(MAX_CONNECTIONS)), TaskTracker::new());
        let accepting = async {
            while let Ok(place) = Arc::clone(&places).acquire_owned().await {
                match self.listener.accept().await {
                    Ok((stream, _)) => {
                        let answer = Arc::clone(&answer);
                        tasks.spawn(cancel.clone().run_until_cancelled_owned(async move {
                            serve_connection(stream, &*answer).await;
                            drop(place);
                        }));
                    }
                    Err(error) => {
                        warn!(%error, "cannot accept a connection for status pages");
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        };
        cancel.run_until_cancelled(accepting).await;
        tasks.close();
        tasks.wait().await;
    }
}

async fn serve_connection(stream: TcpStream, answer: &(impl Fn(&Method, &str) -> Page + Sync)) {
    let respond = |request: Request<Incoming>| async move {
        let page = answer(request.method(), request.uri().path());
        Ok::<_, Infallible>(page.into_response().unwrap_or_default())
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_LIMIT)
        // As kube-proxy writes them: there are probes that compare.
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), service_fn(respond));
    if let Ok(Err(error)) = timeout(CONNECTION_LIMIT, connection).await {
        debug!(%error, "a reader of status pages went away");
    }
}

fn respond(method: &Method, path: &str, find: &impl Fn(&str) -> Option<Page>) -> Page {
    if *method == Method::GET || *method == Method::HEAD {
        find(path).unwrap_or_else(|| Page { status: StatusCode::NOT_FOUND, ..Page::fine("not found\n") })
    } else {
        Page { status: StatusCode::METHOD_NOT_ALLOWED, ..Page::fine("only GET\n") }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn get(address: SocketAddr, head: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("{head} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut response = String::new();
        timeout(Duration::from_secs(10), stream.read_to_string(&mut response)).await.unwrap().unwrap();
        response
    }

    #[tokio::test]
    async fn pages_are_served_by_path_and_others_are_not_found() {
        let pages = StatusPages::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let (address, cancel) = (pages.address(), CancellationToken::new());
        let find = |path: &str| match path {
            "/healthz" => Some(Page::fine("ok")),
            "/readyz" => Some(Page::unavailable("not yet")),
            _ => None,
        };
        let serving = tokio::spawn(pages.serve(find, cancel.clone()));
        assert!(get(address, "GET /healthz").await.starts_with("HTTP/1.1 200 OK\r\n"));
        assert!(get(address, "GET /healthz").await.ends_with("\r\n\r\nok"));
        assert!(get(address, "GET /readyz").await.starts_with("HTTP/1.1 503 "));
        assert!(get(address, "GET /other").await.starts_with("HTTP/1.1 404 "));
        assert!(get(address, "POST /healthz").await.starts_with("HTTP/1.1 405 "));
        cancel.cancel();
        timeout(Duration::from_secs(10), serving).await.expect("it ends when told").unwrap();
    }

    #[test]
    fn metrics_are_in_the_form_prometheus_reads() {
        let mut registry = Registry::default();
        let counter = prometheus_client::metrics::counter::Counter::<u64>::default();
        registry.register("syncs", "How often", counter.clone());
        counter.inc();
        let page = Page::metrics(&registry);
        assert_eq!(page.body, "# HELP syncs How often.\n# TYPE syncs counter\nsyncs_total 1\n# EOF\n");
    }
}
