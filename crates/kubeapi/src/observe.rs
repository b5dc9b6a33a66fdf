//! Seeing every request to the API server, for metrics.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::{Request, Response};
use kube::client::Body;
use tower::{Layer, Service};

/// A request and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered<'a> {
    /// Its HTTP method.
    pub method: &'a str,
    /// The API server, with its port.
    pub host: &'a str,
    /// The status of the answer; none if there was no answer.
    pub code: Option<u16>,
    /// How long the answer's beginning took; a watch goes on after it.
    pub took: Duration,
}

/// Who is told of every request.
pub trait RequestObserver: fmt::Debug + Send + Sync + 'static {
    /// Takes in a request that is over; called on the task that made it, and must not block.
    fn answered(&self, request: &Answered<'_>);
}

/// Tells an observer of the requests of one client.
#[derive(Clone, Debug)]
pub(crate) struct Observe {
    pub(crate) observer: Arc<dyn RequestObserver>,
    pub(crate) host: Arc<str>,
}

impl<S> Layer<S> for Observe {
    type Service = Observed<S>;

    fn layer(&self, inner: S) -> Observed<S> {
        Observed { inner, observe: self.clone() }
    }
}

/// A client whose requests are seen.
pub(crate) struct Observed<S> {
    inner: S,
    observe: Observe,
}

impl<S, B> Service<Request<Body>> for Observed<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (observe, method, started) = (self.observe.clone(), request.method().clone(), Instant::now());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let code = answer.as_ref().ok().map(|answer| answer.status().as_u16());
            let (method, host, took) = (method.as_str(), &*observe.host, started.elapsed());
            observe.observer.answered(&Answered { method, host, code, took });
            answer
        })
    }
}
