//! A server in a directory of its own, and a plain HTTP client.

use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use apiserver::tls::{Authority, Certificate, ServerName};
use apiserver::{Config, Durability, Limits, Listener, Running, Server, UnixNodes, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{HeaderMap, Request};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName as TlsName};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// How long a test waits for something before it gives up.
pub const DEADLINE: Duration = Duration::from_secs(60);

pub const PODS: &str = "/api/v1/namespaces/default/pods";
pub const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
pub const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
pub const SERVICES: &str = "/api/v1/namespaces/default/services";

/// A running server.
pub struct Cluster {
    pub directory: TempDir,
    pub address: SocketAddr,
    pub authority: Authority,
    running: Running,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    pub headers: HeaderMap,
    pub text: String,
    /// The body, if it is JSON.
    pub body: Value,
}

/// A request that is being put together.
pub struct Ask<'a> {
    pub method: &'a str,
    pub path: String,
    pub headers: Vec<(&'a str, String)>,
    pub body: Vec<u8>,
}

impl Cluster {
    pub async fn start() -> Self {
        Self::start_in(TempDir::new().unwrap()).await
    }

    /// A server that remembers only the last few changes of a resource.
    pub async fn start_forgetful() -> Self {
        Self::start_with(TempDir::new().unwrap(), Limits { history_events: 8, ..Limits::default() }).await
    }

    pub async fn start_in(directory: TempDir) -> Self {
        Self::start_with(directory, Limits::default()).await
    }

    pub async fn start_with(directory: TempDir, limits: Limits) -> Self {
        let authority = Authority::load_or_create(&directory.path().join("pki"), Timestamp::now()).unwrap();
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        let socket = directory.path().join("api.sock");
        let _ = std::fs::remove_file(&socket);
        let tls = authority.server_config(&[ServerName::Ip(address.ip())]).unwrap();
        let running = Server::start(Config {
            database: directory.path().join("objects.redb"),
            durability: Durability::Process,
            listeners: vec![Listener::Tls(tcp, tls), Listener::Unix(UnixListener::bind(&socket).unwrap())],
            token_key: authority.token_key().unwrap(),
            authority_pem: authority.certificate_pem().to_owned(),
            advertise: "192.0.2.1:6443".parse().unwrap(),
            service_cidrs: vec!["10.96.0.0/24".parse().unwrap()],
            node_ports: 30000..=30010,
            nodes: Arc::new(UnixNodes::new(directory.path().join("nodes"))),
            version: Version { git_version: "v1.36.0+test".into() },
            clock: Arc::new(Timestamp::now),
            limits,
        })
        .await
        .unwrap();
        Self { directory, address, authority, running }
    }

    /// Stops the server and starts another on the same files.
    pub async fn restart(self) -> Self {
        self.running.stop().await;
        Self::start_in(self.directory).await
    }

    pub async fn stop(self) -> TempDir {
        self.running.stop().await;
        self.directory
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("api.sock")
    }

    /// Asks over the unix socket, as administrator.
    pub async fn ask(&self, ask: Ask<'_>) -> Answer {
        let stream = UnixStream::connect(self.socket()).await.unwrap();
        exchange(stream, ask).await
    }

    /// Asks over TLS, as whoever the certificate or the headers say.
    pub async fn ask_tls(&self, client: Option<&Certificate>, ask: Ask<'_>) -> Answer {
        exchange(self.connect_tls(client).await, ask).await
    }

    pub async fn connect_tls(
        &self,
        client: Option<&Certificate>,
    ) -> impl AsyncRead + AsyncWrite + Unpin + Send + use<> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.certificate_pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match client {
            None => config.with_no_client_auth(),
            Some(client) => config
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(client.certificate_pem.as_bytes()).unwrap()],
                    PrivateKeyDer::from_pem_slice(client.key_pem.as_bytes()).unwrap(),
                )
                .unwrap(),
        };
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = TcpStream::connect(self.address).await.unwrap();
        connector.connect(TlsName::from(self.address.ip()), stream).await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask(Ask::new("GET", path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask(Ask::new("POST", path).json(body)).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.ask(Ask::new("PUT", path).json(body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.ask(Ask::new("DELETE", path)).await
    }

    pub async fn patch(&self, kind: &str, path: &str, body: &Value) -> Answer {
        let media_type = if kind == "apply-patch" { "yaml" } else { "json" };
        let content_type = format!("application/{kind}+{media_type}");
        let ask = Ask::new("PATCH", path).json(body);
        self.ask(Ask { headers: vec![("content-type", content_type)], ..ask }).await
    }

    /// Creates an object that must be fine.
    pub async fn create(&self, path: &str, body: &Value) -> Value {
        let answer = self.post(path, body).await;
        assert_eq!(answer.code, 201, "{}", answer.text);
        answer.body
    }

    /// Starts a watch.
    pub async fn watch(&self, path: &str) -> Events {
        self.watch_as(path, "application/json").await
    }

    pub async fn watch_as(&self, path: &str, accept: &str) -> Events {
        let stream = UnixStream::connect(self.socket()).await.unwrap();
        let response = send(stream, Ask::new("GET", path).header("accept", accept)).await;
        assert_eq!(response.status(), 200);
        Events { body: response.into_body(), received: Vec::new() }
    }
}

impl<'a> Ask<'a> {
    pub fn new(method: &'a str, path: &str) -> Self {
        Self { method, path: path.to_owned(), headers: Vec::new(), body: Vec::new() }
    }

    pub fn json(mut self, body: &Value) -> Self {
        self.body = body.to_string().into_bytes();
        self.header("content-type", "application/json")
    }

    pub fn header(mut self, name: &'a str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

impl Answer {
    /// The code and the message of a refusal.
    pub fn refusal(&self) -> (u16, &str) {
        (self.code, self.body["message"].as_str().unwrap_or_default())
    }

    pub fn warnings(&self) -> Vec<&str> {
        self.headers.get_all("warning").iter().map(|value| value.to_str().unwrap()).collect()
    }
}

/// The events of a watch, as they come.
pub struct Events {
    body: Incoming,
    received: Vec<u8>,
}

impl Events {
    /// The next event; `None` once the watch has ended.
    pub async fn next(&mut self) -> Option<Value> {
        tokio::time::timeout(DEADLINE, self.read()).await.expect("an event or the end of the watch")
    }

    /// The type of the next event and the name of its object.
    pub async fn next_name(&mut self) -> (String, String) {
        let event = self.next().await.expect("an event");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&event["type"]), text(&event["object"]["metadata"]["name"]))
    }

    async fn read(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let frame = self.body.frame().await?.unwrap();
            self.received.extend_from_slice(&frame.into_data().unwrap_or_default());
        }
    }
}

async fn send(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, ask: Ask<'_>) -> hyper::Response<Incoming> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::builder().method(ask.method).uri(ask.path).header("host", "test");
    for (name, value) in ask.headers {
        request = request.header(name, value);
    }
    sender.send_request(request.body(Full::new(Bytes::from(ask.body))).unwrap()).await.unwrap()
}

async fn exchange(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, ask: Ask<'_>) -> Answer {
    let exchange = async {
        let (parts, body) = send(stream, ask).await.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let body = serde_json::from_slice(&bytes).unwrap_or_default();
        Answer { code: parts.status.as_u16(), headers: parts.headers, text, body }
    };
    tokio::time::timeout(DEADLINE, exchange).await.expect("an answer in time")
}

pub fn config_map(name: &str, data: Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": data })
}

pub fn labelled(name: &str, labels: Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name, "labels": labels } })
}

pub fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
        "spec": { "containers": [{ "name": "c", "image": "nginx" }] },
    })
}

pub fn deployment(name: &str, replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": { "containers": [{ "name": "c", "image": "nginx" }] },
            },
        },
    })
}

pub fn service(name: &str, spec: Value) -> Value {
    let mut service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": name }, "spec": { "ports": [{ "port": 80 }] },
    });
    for (field, value) in spec.as_object().unwrap() {
        service["spec"][field] = value.clone();
    }
    service
}

/// The names of the objects of a list.
pub fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}
