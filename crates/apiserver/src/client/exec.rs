//! Running a command in a container over WebSocket channels.

use std::path::Path;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use hyper::Method;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error as WebSocketError, Message,
        handshake::client::{Request, generate_key},
    },
};

use super::{ClientError, PODS, StatusError, address::Address};

const PROTOCOL: &str = "v5.channel.k8s.io";
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
/// Version 5 of the protocol: the payload names the channel that has ended.
const CLOSE: u8 = 255;
/// Payload of one message; servers refuse very large ones.
const STDIN_CHUNK: usize = 32 * 1024;

/// A command to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecRequest {
    /// Namespace of the pod.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// The container; may be left out when the pod has one.
    pub container: Option<String>,
    /// Program and arguments.
    pub command: Vec<String>,
    /// What the program reads; empty closes its input at once.
    pub stdin: Vec<u8>,
}

/// What a command did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecOutput {
    /// What it wrote.
    pub stdout: Vec<u8>,
    /// What it wrote as errors.
    pub stderr: Vec<u8>,
    /// 0 is success.
    pub exit_code: i32,
}

pub(super) async fn run(socket: &Path, exec: &ExecRequest) -> Result<ExecOutput, ClientError> {
    let address = address(exec);
    let request = format!("{} {}", Method::GET, address.path());
    let mut stream = connect(socket, &address, &request).await?;
    let failed = |source| ClientError::Stream { request: request.clone(), source: Box::new(source) };
    for message in stdin_messages(&exec.stdin) {
        stream.send(message).await.map_err(failed)?;
    }
    let mut output = ExecOutput::default();
    let mut ended = None;
    while let Some(message) = stream.next().await {
        match message {
            Ok(Message::Close(_)) | Err(WebSocketError::ConnectionClosed) => break,
            Ok(message) => ended = take_message(&mut output, &message.into_data())?.or(ended),
            // Some servers end the connection without a closing handshake once the status is sent.
            Err(_) if ended.is_some() => break,
            Err(source) => return Err(failed(source)),
        }
    }
    output.exit_code = ended.ok_or(ClientError::NoExitStatus { request })?;
    Ok(output)
}

fn address(exec: &ExecRequest) -> Address {
    let mut address = Address::object(&PODS, &exec.namespace, &exec.pod).subresource("exec");
    for argument in &exec.command {
        address = address.query("command", argument);
    }
    if let Some(container) = &exec.container {
        address = address.query("container", container);
    }
    if !exec.stdin.is_empty() {
        address = address.query("stdin", "true");
    }
    address.query("stdout", "true").query("stderr", "true")
}

async fn connect(socket: &Path, address: &Address, request: &str) -> Result<WebSocketStream<UnixStream>, ClientError> {
    let upgrade = Request::builder()
        .uri(format!("ws://localhost{}", address.to_uri()))
        .header("Host", "localhost")
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", generate_key())
        .header("Sec-WebSocket-Protocol", PROTOCOL)
        .body(())
        .map_err(|source| ClientError::Malformed { request: request.to_owned(), source })?;
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|source| ClientError::Connect { socket: socket.to_owned(), source })?;
    match tokio_tungstenite::client_async(upgrade, stream).await {
        Ok((stream, _)) => Ok(stream),
        Err(WebSocketError::Http(response)) => {
            let body = response.body().as_deref().unwrap_or_default();
            Err(ClientError::Status(StatusError::from_body(response.status().as_u16(), body)))
        }
        Err(source) => Err(ClientError::Stream { request: request.to_owned(), source: Box::new(source) }),
    }
}

/// The input in pieces, then its end; nothing at all for a command that has no input.
fn stdin_messages(stdin: &[u8]) -> Vec<Message> {
    let framed = |channel: u8, payload: &[u8]| Message::binary([&[channel], payload].concat());
    let mut messages: Vec<_> = stdin.chunks(STDIN_CHUNK).map(|chunk| framed(STDIN, chunk)).collect();
    if !messages.is_empty() {
        messages.push(framed(CLOSE, &[STDIN]));
    }
    messages
}

/// Adds a message to the output; the exit code if it was the final status.
fn take_message(output: &mut ExecOutput, data: &Bytes) -> Result<Option<i32>, ClientError> {
    match data.split_first() {
        Some((&STDOUT, payload)) => output.stdout.extend_from_slice(payload),
        Some((&STDERR, payload)) => output.stderr.extend_from_slice(payload),
        Some((&STATUS, payload)) => return exit_code(payload).map(Some),
        _ => {}
    }
    Ok(None)
}

/// The exit code a final `Status` tells of; an error if the command never ran.
fn exit_code(payload: &[u8]) -> Result<i32, ClientError> {
    let status: Value = serde_json::from_slice(payload)
        .map_err(|source| ClientError::Decode { request: "exec status".to_owned(), source })?;
    if status["status"] == "Success" {
        return Ok(0);
    }
    let causes = status["details"]["causes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let code = causes.iter().find(|cause| cause["reason"] == "ExitCode").and_then(|cause| cause["message"].as_str());
    match code.and_then(|code| code.parse().ok()) {
        Some(code) => Ok(code),
        None => Err(ClientError::Status(StatusError::from_status(500, &status))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn exit_code_is_read_from_the_causes() {
        let status = json!({
            "status": "Failure", "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": "7"}]},
        });
        assert_eq!(exit_code(status.to_string().as_bytes()).unwrap(), 7);
        assert_eq!(exit_code(br#"{"status":"Success"}"#).unwrap(), 0);
    }

    #[test]
    fn a_command_that_never_ran_is_an_error_and_no_exit_code() {
        let status = json!({"status": "Failure", "code": 404, "reason": "NotFound", "message": "no such container"});
        assert!(exit_code(status.to_string().as_bytes()).unwrap_err().is_not_found());
    }

    #[test]
    fn input_is_sent_in_pieces_and_then_closed() {
        let messages = stdin_messages(&vec![b'x'; STDIN_CHUNK + 1]);
        let sizes: Vec<_> = messages.iter().map(Message::len).collect();
        assert_eq!(sizes, [STDIN_CHUNK + 1, 2, 2]);
        assert_eq!(messages[2], Message::binary(vec![CLOSE, STDIN]));
        assert!(stdin_messages(b"").is_empty());
    }

    #[test]
    fn output_is_sorted_by_channel() {
        let mut output = ExecOutput::default();
        for frame in [&b"\x01out"[..], b"\x02err", b"\x01put", b""] {
            assert_eq!(take_message(&mut output, &Bytes::copy_from_slice(frame)).unwrap(), None);
        }
        assert_eq!((&output.stdout[..], &output.stderr[..]), (&b"output"[..], &b"err"[..]));
    }
}
