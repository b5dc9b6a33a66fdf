//! The channel protocol of exec and attach: a WebSocket message is the number of a channel and its bytes.
//!
//! Versions 4 and 5 (`v5.channel.k8s.io`), which differ in one thing: in version 5 a client can end a channel.

use serde_json::{Value, json};

/// The versions spoken, best first.
const PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

/// What a client says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromClient {
    /// Bytes for standard input.
    Stdin(Vec<u8>),
    /// Standard input has ended.
    StdinEnded,
    /// Its terminal's size.
    Resize {
        /// Characters per line.
        columns: u16,
        /// Lines.
        rows: u16,
    },
}

/// What a client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToClient {
    /// Output.
    Stdout(Vec<u8>),
    /// Error output.
    Stderr(Vec<u8>),
    /// How it ended; the last message.
    Ended(Ending),
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With this exit code.
    Exited(i32),
    /// It could not be run.
    Failed(String),
}

/// The best protocol of those a client offers, as in `Sec-WebSocket-Protocol`.
pub fn choose_protocol(offered: &str) -> Option<&'static str> {
    let offered: Vec<&str> = offered.split(',').map(str::trim).collect();
    PROTOCOLS.into_iter().find(|protocol| offered.contains(protocol))
}

impl FromClient {
    /// Understands a message; `None` for one that says nothing (empty, or of an unknown channel).
    pub fn parse(message: &[u8]) -> Option<Self> {
        let (channel, bytes) = message.split_first()?;
        match *channel {
            STDIN if !bytes.is_empty() => Some(Self::Stdin(bytes.to_vec())),
            CLOSE if bytes == [STDIN] => Some(Self::StdinEnded),
            RESIZE => {
                let size: Value = serde_json::from_slice(bytes).ok()?;
                let side = |name: &str| size[name].as_u64().and_then(|side| u16::try_from(side).ok());
                Some(Self::Resize { columns: side("Width")?, rows: side("Height")? })
            }
            _ => None,
        }
    }
}

impl ToClient {
    /// The message.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Stdout(bytes) => on_channel(STDOUT, bytes),
            Self::Stderr(bytes) => on_channel(STDERR, bytes),
            Self::Ended(ending) => on_channel(STATUS, ending.status().to_string().as_bytes()),
        }
    }

    /// The empty message that tells a client that the streams are open.
    pub fn opened() -> Vec<u8> {
        vec![STDOUT]
    }
}

impl Ending {
    /// The ending as the API tells it.
    fn status(&self) -> Value {
        match self {
            Self::Exited(0) => json!({"metadata": {}, "status": "Success"}),
            Self::Exited(code) => json!({
                "metadata": {},
                "status": "Failure",
                "message": format!("command terminated with non-zero exit code: exit status {code}"),
                "reason": "NonZeroExitCode",
                "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
            }),
            Self::Failed(message) => json!({
                "metadata": {},
                "status": "Failure",
                "message": message,
                "reason": "InternalError",
                "details": {"causes": [{"message": message}]},
                "code": 500,
            }),
        }
    }
}

fn on_channel(channel: u8, bytes: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(1 + bytes.len());
    message.push(channel);
    message.extend_from_slice(bytes);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_protocol_both_know_is_chosen() {
        assert_eq!(choose_protocol("v4.channel.k8s.io, v5.channel.k8s.io"), Some("v5.channel.k8s.io"));
        assert_eq!(choose_protocol("v4.channel.k8s.io"), Some("v4.channel.k8s.io"));
        assert_eq!(choose_protocol("SPDY/3.1"), None);
    }

    #[test]
    fn messages_of_clients_are_understood_as_kubectl_sends_them() {
        assert_eq!(FromClient::parse(b"\x00ls\n"), Some(FromClient::Stdin(b"ls\n".to_vec())));
        assert_eq!(FromClient::parse(b"\xff\x00"), Some(FromClient::StdinEnded));
        let resize = b"\x04{\"Width\":120,\"Height\":40}\n";
        assert_eq!(FromClient::parse(resize), Some(FromClient::Resize { columns: 120, rows: 40 }));
        for nothing in [&b""[..], b"\x00", b"\x04{}", b"\x09x"] {
            assert_eq!(FromClient::parse(nothing), None);
        }
    }

    #[test]
    fn an_exit_code_reaches_the_client_as_a_cause() {
        let message = ToClient::Ended(Ending::Exited(7)).encode();
        let status: Value = serde_json::from_slice(&message[1..]).unwrap();
        assert_eq!((message[0], &status["details"]["causes"][0]["message"]), (3, &json!("7")));
        assert_eq!(status["reason"], "NonZeroExitCode");
    }
}
