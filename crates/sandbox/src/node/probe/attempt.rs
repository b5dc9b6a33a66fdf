//! One attempt of a probe. Failures are told in the kubelet's words, since people search for them.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::net::TcpStream;

use super::Probed;
use crate::node::exec::{self, Outcome};

/// How much of an answer's body is read.
const BODY_BYTES: usize = 10 << 10;

/// Asks once, for at most `limit`. The error says what was wrong.
pub async fn attempt(probe: &Probe, probed: &Probed, limit: Duration) -> Result<(), String> {
    if let Some(action) = &probe.exec {
        let command = action.command.as_deref().unwrap_or_default();
        return match exec::run(probed.container.place(), command, limit).await {
            Outcome::Ended(0, _) => Ok(()),
            Outcome::Ended(_, output) => Err(output),
            Outcome::NotStarted(why) => Err(why),
            Outcome::TimedOut => Err(format!("command timed out: {command:?} timed out after {limit:?}")),
        };
    }
    if let Some(action) = &probe.http_get {
        let target = HttpTarget::new(action, &probed.spec, probed.address)?;
        return http_get(&target, limit).await;
    }
    if let Some(action) = &probe.tcp_socket {
        let address = address_of(action.host.as_deref(), &action.port, &probed.spec, probed.address)?;
        return connect(address, limit).await.map(drop);
    }
    if let Some(action) = &probe.grpc {
        // The port's acceptance is as much as is asked of it here.
        let address = address_of(None, &IntOrString::Int(action.port), &probed.spec, probed.address)?;
        return connect(address, limit).await.map(drop);
    }
    Err("missing probe handler".to_owned())
}

/// Where an HTTP probe or hook goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpTarget {
    address: SocketAddr,
    path: String,
    tls: bool,
    headers: Vec<(String, String)>,
}

impl HttpTarget {
    /// What `action` of `container` means for a pod at `pod_address`.
    pub fn new(action: &HTTPGetAction, container: &Container, pod_address: Option<IpAddr>) -> Result<Self, String> {
        let address = address_of(action.host.as_deref(), &action.port, container, pod_address)?;
        let path = action.path.as_deref().unwrap_or_default();
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let headers = action.http_headers.iter().flatten();
        Ok(Self {
            address,
            path,
            tls: action.scheme.as_deref() == Some("HTTPS"),
            headers: headers.map(|header| (header.name.clone(), header.value.clone())).collect(),
        })
    }

    fn url(&self) -> String {
        format!("http://{}{}", self.address, self.path)
    }
}

/// Sends a GET; any status from 200 to 399 is a success. Behind TLS only the port's acceptance is checked.
pub async fn http_get(target: &HttpTarget, limit: Duration) -> Result<(), String> {
    let failed = |what: &dyn std::fmt::Display| format!("Get {:?}: {what}", target.url());
    if target.tls {
        return connect(target.address, limit).await.map(drop).map_err(|error| failed(&error));
    }
    let exchange = async {
        let stream = connect(target.address, limit).await.map_err(|error| failed(&error))?;
        request(stream, target).await.map_err(|error| failed(&error))
    };
    match tokio::time::timeout(limit, exchange).await {
        Err(_) => Err(failed(&"context deadline exceeded (Client.Timeout exceeded while awaiting headers)")),
        Ok(Err(error)) => Err(error),
        Ok(Ok(status)) if (200..400).contains(&status.as_u16()) => Ok(()),
        Ok(Ok(status)) => Err(format!("HTTP probe failed with statuscode: {}", status.as_u16())),
    }
}

async fn request(stream: TcpStream, target: &HttpTarget) -> Result<StatusCode, String> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let given = |name: &str| target.headers.iter().any(|(header, _)| header.eq_ignore_ascii_case(name));
    let mut request = Request::get(&target.path);
    for (name, value) in [
        ("host", target.address.to_string()),
        ("user-agent", "kube-probe/1.36".to_owned()),
        ("accept", "*/*".to_owned()),
    ] {
        if !given(name) {
            request = request.header(name, value);
        }
    }
    for (name, value) in &target.headers {
        request = request.header(name, value);
    }
    let request =
        request.header("connection", "close").body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        // A server may not like it when nobody reads its answer.
        let _ = Limited::new(response.into_body(), BODY_BYTES).collect().await;
        drop(sender);
        Ok::<_, hyper::Error>(status)
    };
    let (status, _) = tokio::join!(exchange, connection);
    status.map_err(|error| error.to_string())
}

async fn connect(address: SocketAddr, limit: Duration) -> Result<TcpStream, String> {
    match tokio::time::timeout(limit, TcpStream::connect(address)).await {
        Err(_) => Err(format!("dial tcp {address}: i/o timeout")),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            Err(format!("dial tcp {address}: connect: connection refused"))
        }
        Ok(Err(error)) => Err(format!("dial tcp {address}: connect: {error}")),
        Ok(Ok(stream)) => Ok(stream),
    }
}

fn address_of(
    host: Option<&str>,
    port: &IntOrString,
    container: &Container,
    pod_address: Option<IpAddr>,
) -> Result<SocketAddr, String> {
    let port = match port {
        IntOrString::Int(port) => *port,
        IntOrString::String(name) => {
            let ports = container.ports.as_deref().unwrap_or_default();
            let named = ports.iter().find(|port| port.name.as_deref() == Some(name));
            let named = named.map(|port| port.container_port).or_else(|| name.parse().ok());
            named.ok_or_else(|| format!("couldn't find port: {name:?}"))?
        }
    };
    let port = u16::try_from(port).map_err(|_| format!("invalid port number: {port}"))?;
    let address = match host.filter(|host| !host.is_empty()) {
        Some(host) => host.parse().map_err(|_| format!("a probe's host must be an address: {host:?}"))?,
        None => pod_address.ok_or("the pod has no address yet")?,
    };
    Ok(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn container() -> Container {
        serde_json::from_value(json!({"name": "c", "ports": [{"name": "web", "containerPort": 8080}]})).unwrap()
    }

    #[test]
    fn a_port_may_be_named() {
        let address = Some("10.0.0.5".parse().unwrap());
        let ask = |port: IntOrString| address_of(None, &port, &container(), address).map(|found| found.to_string());
        assert_eq!(ask(IntOrString::String("web".into())), Ok("10.0.0.5:8080".to_owned()));
        assert_eq!(ask(IntOrString::Int(80)), Ok("10.0.0.5:80".to_owned()));
        assert_eq!(ask(IntOrString::String("none".into())), Err("couldn't find port: \"none\"".to_owned()));
    }

    #[tokio::test]
    async fn a_refused_connection_and_a_bad_status_are_told_in_the_kubelets_words() {
        let listener = tokio::net::TcpListener::bind("127.0.7.4:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let target =
            HttpTarget { address, path: "/x".into(), tls: false, headers: vec![("Host".into(), "a.test".into())] };
        let server = tokio::spawn(async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            stream.write_all(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            String::from_utf8_lossy(&request[..length]).to_lowercase()
        });
        let limit = Duration::from_secs(5);
        assert_eq!(http_get(&target, limit).await, Err("HTTP probe failed with statuscode: 503".to_owned()));
        let request = server.await.unwrap();
        assert!(request.contains("host: a.test") && request.contains("user-agent: kube-probe/"), "{request}");
        let refused = http_get(&target, limit).await.unwrap_err();
        assert_eq!(refused, format!("Get \"http://{address}/x\": dial tcp {address}: connect: connection refused"));
    }
}
