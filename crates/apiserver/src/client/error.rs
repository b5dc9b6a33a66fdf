//! What can go wrong between a client and the server.

use std::{io, path::PathBuf, time::Duration};

use serde_json::Value;

/// A request that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing accepts connections on the socket.
    #[error("cannot connect to the API server at {socket}", socket = socket.display())]
    Connect {
        /// The unix socket tried.
        socket: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The connection broke before the answer was complete.
    #[error("lost the API server during {request}")]
    Transport {
        /// Method and path.
        request: String,
        /// Why.
        #[source]
        source: hyper::Error,
    },
    /// The server did not answer in time.
    #[error("no answer to {request} within {after:?}")]
    Timeout {
        /// Method and path.
        request: String,
        /// How long was waited.
        after: Duration,
    },
    /// The server refused.
    #[error("{0}")]
    Status(StatusError),
    /// The answer is not what its content type promises.
    #[error("cannot read the answer to {request}")]
    Decode {
        /// Method and path.
        request: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The object to send has no JSON form.
    #[error("cannot write the object as JSON")]
    Encode {
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The request line or a header of it cannot be sent, such as a name with a line break.
    #[error("cannot form the request {request}")]
    Malformed {
        /// Method and path.
        request: String,
        /// Why.
        #[source]
        source: hyper::http::Error,
    },
    /// The stream of an exec failed.
    #[error("the stream of {request} broke")]
    Stream {
        /// Method and path.
        request: String,
        /// Why.
        #[source]
        source: Box<tokio_tungstenite::tungstenite::Error>,
    },
    /// The stream of an exec ended without saying how the command ended.
    #[error("{request} ended without an exit status")]
    NoExitStatus {
        /// Method and path.
        request: String,
    },
}

/// The server's refusal, as its `Status` object says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({reason}, {code})")]
pub struct StatusError {
    /// HTTP status code.
    pub code: u16,
    /// Machine-readable reason, as in `NotFound`; empty if the server gave none.
    pub reason: String,
    /// For people.
    pub message: String,
}

impl StatusError {
    /// Reads a `Status` body; a body that is none becomes the message.
    pub(super) fn from_body(code: u16, body: &[u8]) -> Self {
        match serde_json::from_slice::<Value>(body) {
            Ok(status) if status["kind"] == "Status" => Self::from_status(code, &status),
            _ => Self { code, reason: String::new(), message: String::from_utf8_lossy(body).trim().to_owned() },
        }
    }

    /// Reads a `Status` object; `code` stands in for a missing one.
    pub(super) fn from_status(code: u16, status: &Value) -> Self {
        let text = |key: &str| status[key].as_str().unwrap_or_default().to_owned();
        let code = status["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(code);
        Self { code, reason: text("reason"), message: text("message") }
    }
}

impl ClientError {
    /// The server's refusal, if it answered.
    pub fn status(&self) -> Option<&StatusError> {
        match self {
            Self::Status(status) => Some(status),
            _ => None,
        }
    }

    /// The object is not there.
    pub fn is_not_found(&self) -> bool {
        self.has_reason(404, "NotFound")
    }

    /// The object was changed by somebody else since it was read.
    pub fn is_conflict(&self) -> bool {
        self.has_reason(409, "Conflict")
    }

    /// An object of this name is there already.
    pub fn is_already_exists(&self) -> bool {
        self.has_reason(409, "AlreadyExists")
    }

    /// The resource version asked for is no longer in the server's log.
    pub fn is_expired(&self) -> bool {
        self.status().is_some_and(|status| status.code == 410)
    }

    /// The same request may succeed later without anything being changed.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Transport { .. } | Self::Timeout { .. } => true,
            Self::Stream { .. } | Self::NoExitStatus { .. } => true,
            Self::Status(status) => matches!(status.code, 408 | 409 | 410 | 429 | 500 | 502 | 503 | 504),
            Self::Decode { .. } | Self::Encode { .. } | Self::Malformed { .. } => false,
        }
    }

    fn has_reason(&self, code: u16, reason: &str) -> bool {
        self.status().is_some_and(|status| status.code == code && status.reason == reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(code: u16, reason: &str) -> ClientError {
        let body = serde_json::json!({"kind": "Status", "code": code, "reason": reason, "message": "no"});
        ClientError::Status(StatusError::from_body(code, body.to_string().as_bytes()))
    }

    #[test]
    fn conflict_and_already_exists_share_a_code_but_not_a_meaning() {
        assert!(refusal(409, "Conflict").is_conflict());
        assert!(!refusal(409, "AlreadyExists").is_conflict());
        assert!(refusal(409, "AlreadyExists").is_already_exists());
    }

    #[test]
    fn an_invalid_object_is_not_worth_a_retry() {
        assert!(!refusal(422, "Invalid").is_retryable());
        assert!(refusal(503, "ServiceUnavailable").is_retryable());
    }

    #[test]
    fn a_body_that_is_no_status_becomes_the_message() {
        let error = StatusError::from_body(502, b"bad gateway\n");
        assert_eq!(error, StatusError { code: 502, reason: String::new(), message: "bad gateway".into() });
    }
}
