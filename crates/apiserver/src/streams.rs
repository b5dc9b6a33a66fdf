//! Logs, exec and attach: byte streams between a client and the node of a pod, which this server only passes on.

use std::io;
use std::path::PathBuf;

use futures::future::BoxFuture;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderMap, UPGRADE};
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio_util::sync::CancellationToken;

use crate::error::{ApiError, GroupResource};
use crate::http::quota::Permit;
use crate::http::route::Target;
use crate::http::{Answer, Handler};
use crate::store::Key;

const PODS: GroupResource = GroupResource::of("", "pods");
/// Names the container meant when a client names none.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";
/// How much of a node's refusal is read.
const MAX_REFUSAL_BYTES: usize = 64 << 10;

/// Opens connections to nodes.
pub trait NodeDialer: Send + Sync + 'static {
    /// Connects to the API of a node, which speaks HTTP/1.1.
    ///
    /// # Errors
    /// When the node cannot be reached.
    fn dial<'a>(&'a self, node: &'a str) -> BoxFuture<'a, io::Result<Box<dyn NodeStream>>>;
}

/// A connection to a node.
pub trait NodeStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> NodeStream for T {}

/// Nodes that listen on unix sockets: `DIRECTORY/NODE/kubelet.sock`.
#[derive(Debug, Clone)]
pub struct UnixNodes {
    directory: PathBuf,
}

/// A cluster without nodes that could be reached.
#[derive(Debug, Clone, Copy)]
pub struct NoNodes;

impl UnixNodes {
    /// Nodes whose directories are in `directory`.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }
}

impl NodeDialer for UnixNodes {
    fn dial<'a>(&'a self, node: &'a str) -> BoxFuture<'a, io::Result<Box<dyn NodeStream>>> {
        Box::pin(async move {
            let path = self.directory.join(node).join("kubelet.sock");
            let stream = tokio::net::UnixStream::connect(path).await?;
            Ok(Box::new(stream) as Box<dyn NodeStream>)
        })
    }
}

impl NodeDialer for NoNodes {
    fn dial<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Box<dyn NodeStream>>> {
        Box::pin(async {
            Err(io::Error::new(io::ErrorKind::NotFound, "this cluster has no nodes that can be reached"))
        })
    }
}

/// What is streamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Log,
    Exec,
    Attach,
}

impl Stream {
    /// The stream behind a subresource of pods.
    pub fn named(subresource: &str) -> Option<Self> {
        match subresource {
            "log" => Some(Self::Log),
            "exec" => Some(Self::Exec),
            "attach" => Some(Self::Attach),
            _ => None,
        }
    }

    /// The first part of the path at the node.
    fn at_node(self) -> &'static str {
        match self {
            Self::Log => "containerLogs",
            Self::Exec => "exec",
            Self::Attach => "attach",
        }
    }
}

/// Passes a request on to the node of its pod, and the answer back.
pub(crate) async fn proxy(
    handler: &Handler,
    stream: Stream,
    target: &Target,
    mut request: Request<Incoming>,
    permit: Permit,
) -> Result<Answer, ApiError> {
    let (namespace, name) = (target.namespace.clone().unwrap_or_default(), target.name.clone().unwrap_or_default());
    let key = Key { resource: PODS, namespace: namespace.clone(), name: name.clone() };
    let pod = handler.api.store.get(&key).ok_or_else(|| ApiError::NotFound { resource: PODS, name: name.clone() })?;
    let query = request.uri().query().unwrap_or_default().to_owned();
    let container = choose_container(&pod.value, parameter(&query, "container"))?;
    let unsupported = if stream == Stream::Log { None } else { require_websocket(&request).err() };
    let node = node_of(&pod.value)?;
    let path = format!("/{}/{namespace}/{name}/{container}?{query}", stream.at_node());
    let client = hyper::upgrade::on(&mut request);
    let mut response = send(handler, &node, &path, request.headers()).await?;
    // A node looks at the container before it looks at the upgrade. Clients try over SPDY what failed over a WebSocket
    // and show the second answer only, so what is wrong with the container comes before what is wrong with the wish.
    if let Some(unsupported) = unsupported.filter(|_| response.status() != StatusCode::NOT_FOUND) {
        return Err(unsupported);
    }
    match response.status() {
        StatusCode::SWITCHING_PROTOCOLS => {
            let server = hyper::upgrade::on(&mut response);
            tokio::spawn(join(client, server, permit, handler.stop.clone()));
            let (parts, _) = response.into_parts();
            Ok(Response::from_parts(parts, empty()))
        }
        StatusCode::OK if stream == Stream::Log => Ok(passed_on(response)),
        _ => Err(refusal(response).await),
    }
}

/// Only WebSocket is passed on; a client that can do no better than SPDY is told so.
fn require_websocket(request: &Request<Incoming>) -> Result<(), ApiError> {
    let upgrade = request.headers().get(UPGRADE).and_then(|upgrade| upgrade.to_str().ok()).unwrap_or_default();
    match upgrade.to_ascii_lowercase().as_str() {
        "websocket" => Ok(()),
        "" => Err(ApiError::bad_request("Upgrade request required")),
        other => Err(ApiError::bad_request(format!(
            "streaming needs a WebSocket (v5.channel.k8s.io), as kubectl 1.31 and newer use by default; \
             {other} is not offered"
        ))),
    }
}

async fn send(handler: &Handler, node: &str, path: &str, headers: &HeaderMap) -> Result<Response<Incoming>, ApiError> {
    let unreachable = |error: &dyn std::error::Error| ApiError::Internal {
        message: format!("error dialing the node {node}: {error}"),
    };
    let stream = handler.nodes.dial(node).await.map_err(|error| unreachable(&error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(&error))?;
    // Ends with the request, or with the streams it was upgraded to.
    tokio::spawn(connection.with_upgrades());
    let mut onward = Request::builder().method(Method::GET).uri(path).header(HOST, "node");
    let passed =
        |name: &str| name.starts_with("sec-websocket-") || name == CONNECTION.as_str() || name == UPGRADE.as_str();
    for (name, value) in headers.iter().filter(|(name, _)| passed(name.as_str())) {
        onward = onward.header(name, value);
    }
    let onward = onward.body(Empty::<Bytes>::new()).map_err(ApiError::internal)?;
    sender.send_request(onward).await.map_err(|error| unreachable(&error))
}

/// Copies between both ends until one is done or the server stops.
async fn join(client: OnUpgrade, node: OnUpgrade, permit: Permit, stop: CancellationToken) {
    let copied = async {
        let (client, node) = tokio::try_join!(client, node).map_err(io::Error::other)?;
        copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(node)).await
    };
    tokio::select! {
        () = stop.cancelled() => {}
        result = copied => if let Err(error) = result {
            tracing::debug!(%error, "stream ended");
        },
    }
    drop(permit);
}

fn passed_on(response: Response<Incoming>) -> Answer {
    let (mut parts, body) = response.into_parts();
    let content_type = parts.headers.remove(CONTENT_TYPE);
    parts.headers.clear();
    if let Some(content_type) = content_type {
        parts.headers.insert(CONTENT_TYPE, content_type);
    }
    Response::from_parts(parts, body.boxed_unsync())
}

/// A node's refusal, which is plain text, as an error of this API.
async fn refusal(response: Response<Incoming>) -> ApiError {
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_REFUSAL_BYTES).collect().await;
    let text = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).trim().to_owned()).unwrap_or_default();
    match status {
        status if status.is_client_error() => ApiError::bad_request(text),
        _ => ApiError::internal(format!("the node answered {status}: {text}")),
    }
}

fn empty() -> crate::http::ResponseBody {
    Empty::new().map_err(|never: std::convert::Infallible| match never {}).boxed_unsync()
}

fn parameter(query: &str, name: &str) -> Option<String> {
    crate::http::query::Query::parse(Some(query)).text(name).map(str::to_owned)
}

fn node_of(pod: &Value) -> Result<String, ApiError> {
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    if node.is_empty() {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        return Err(ApiError::bad_request(format!("pod {name} does not have a host assigned")));
    }
    Ok(node.to_owned())
}

/// The container meant: the one named, the pod's default, or its only one.
fn choose_container(pod: &Value, named: Option<String>) -> Result<String, ApiError> {
    let names = |lists: &[&str]| -> Vec<String> {
        let containers = lists.iter().filter_map(|list| pod["spec"][list].as_array()).flatten();
        containers.filter_map(|container| container["name"].as_str()).map(str::to_owned).collect()
    };
    let pod_name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let all = names(&["containers", "initContainers", "ephemeralContainers"]);
    let default = || pod["metadata"]["annotations"][DEFAULT_CONTAINER].as_str().map(str::to_owned);
    match named.or_else(default) {
        Some(name) if all.contains(&name) => Ok(name),
        Some(name) => Err(ApiError::bad_request(format!("container {name} is not valid for pod {pod_name}"))),
        None => match names(&["containers"]).as_slice() {
            [only] => Ok(only.clone()),
            several => Err(ApiError::bad_request(format!(
                "a container name must be specified for pod {pod_name}, choose one of: [{}]",
                several.join(" ")
            ))),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(containers: &[&str]) -> Value {
        let containers: Vec<Value> = containers.iter().map(|name| json!({ "name": name })).collect();
        json!({ "metadata": { "name": "p" }, "spec": { "containers": containers, "initContainers": [{ "name": "i" }] } })
    }

    #[test]
    fn the_only_container_need_not_be_named() {
        assert_eq!(choose_container(&pod(&["a"]), None), Ok("a".into()));
        assert_eq!(choose_container(&pod(&["a"]), Some("i".into())), Ok("i".into()));
    }

    #[test]
    fn of_several_containers_one_must_be_named() {
        assert_eq!(
            choose_container(&pod(&["a", "b"]), None).unwrap_err().to_string(),
            "a container name must be specified for pod p, choose one of: [a b]"
        );
        let mut annotated = pod(&["a", "b"]);
        annotated["metadata"]["annotations"][DEFAULT_CONTAINER] = json!("b");
        assert_eq!(choose_container(&annotated, None), Ok("b".into()));
        assert!(choose_container(&annotated, Some("c".into())).is_err());
    }
}
