//! `agnhost porter`: serves the value of every variable `SERVE_PORT_N` (and `SERVE_TCP_PORT_N`, `SERVE_UDP_PORT_N`) on
//! port N.

use std::process::ExitCode;

use hyper::StatusCode;
use hyper::header::HeaderValue;
use serde_json::json;
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use super::super::flags::Flags;
use super::super::http::{self, answer};
use super::super::journal::say;
use super::usage_error;

/// Runs `agnhost porter [--json-response]`.
pub fn main(arguments: &[String]) -> ExitCode {
    let as_json =
        Flags::parse(arguments, &[], &["json-response"]).and_then(|flags| flags.value("json-response", false));
    match as_json {
        Ok(as_json) => http::run(serve(as_json)),
        Err(error) => usage_error(&error),
    }
}

#[derive(Debug, PartialEq)]
enum Task {
    Tcp(u16),
    Udp(u16),
    /// A protocol the original knows and this does not.
    Unsupported(String),
}

/// What variable `name` asks for; `None` if it is none of ours.
fn task_from(name: &str) -> Option<Task> {
    let port = |prefix: &str| name.strip_prefix(prefix).and_then(|port| port.parse().ok());
    if let Some(port) = port("SERVE_PORT_").or_else(|| port("SERVE_TCP_PORT_")) {
        return Some(Task::Tcp(port));
    }
    if let Some(port) = port("SERVE_UDP_PORT_") {
        return Some(Task::Udp(port));
    }
    port("SERVE_TLS_PORT_").or_else(|| port("SERVE_SCTP_PORT_")).map(|_| Task::Unsupported(name.to_owned()))
}

async fn serve(as_json: bool) -> ExitCode {
    for (name, value) in std::env::vars() {
        match task_from(&name) {
            Some(Task::Tcp(port)) => drop(tokio::task::spawn_local(serve_tcp(port, value, as_json))),
            Some(Task::Udp(port)) => drop(tokio::task::spawn_local(serve_udp(port, value))),
            Some(Task::Unsupported(name)) => say(format!("{name}: this stand-in for agnhost serves TCP and UDP only")),
            None => {}
        }
    }
    std::future::pending().await
}

async fn serve_tcp(port: u16, value: String, as_json: bool) {
    let listener = match http::listen(port).await {
        Ok(listener) => listener,
        Err(error) => return say(format!("server on port \"{port}\" failed: {error}")),
    };
    http::serve(listener, CancellationToken::new(), move |exchange| {
        let mut answer = answer(StatusCode::OK, value.clone());
        if as_json {
            let body = json!({"Method": exchange.method.as_str(), "Body": value}).to_string();
            answer = http::answer(StatusCode::OK, body);
            answer.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
        }
        async move { answer }
    })
    .await;
}

async fn serve_udp(port: u16, value: String) {
    let socket = match UdpSocket::bind(("0.0.0.0", port)).await {
        Ok(socket) => socket,
        Err(error) => return say(format!("UDP: failed to listen on port {port}: {error}")),
    };
    say(format!("Started UDP server on port {port}"));
    while let Ok((_, remote)) = socket.recv_from(&mut [0; 16]).await {
        if let Err(error) = socket.send_to(value.as_bytes(), remote).await {
            say(format!("UDP: error from WriteTo(): {error}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_name_protocol_and_port() {
        assert_eq!(task_from("SERVE_PORT_80"), Some(Task::Tcp(80)));
        assert_eq!(task_from("SERVE_TCP_PORT_81"), Some(Task::Tcp(81)));
        assert_eq!(task_from("SERVE_UDP_PORT_53"), Some(Task::Udp(53)));
        assert_eq!(task_from("SERVE_SCTP_PORT_9"), Some(Task::Unsupported("SERVE_SCTP_PORT_9".to_owned())));
        assert_eq!((task_from("SERVE_PORT_x"), task_from("PATH")), (None, None));
    }
}
