//! What is asked of a node's streams: paths and queries as a kubelet takes them.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

/// A request, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamRequest {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// The container.
    pub container: String,
    /// What to do with it.
    pub action: Action,
}

/// What to do with a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read its log.
    Logs(LogQuery),
    /// Run a command in it.
    Exec {
        /// The command and its arguments; never empty.
        command: Vec<String>,
        /// Which streams.
        streams: Streams,
    },
    /// Join its own streams.
    Attach(Streams),
}

/// Which part of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// Go on with what is still to come.
    pub follow: bool,
    /// Of the instance before this one.
    pub previous: bool,
    /// Put the time before each line.
    pub timestamps: bool,
    /// Only so many lines from the end.
    pub tail_lines: Option<usize>,
    /// Only lines from then on.
    pub since: Option<Timestamp>,
    /// At most so many bytes.
    pub limit_bytes: Option<usize>,
}

/// Which streams a client wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streams {
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error; never on a terminal, where it is part of the output.
    pub stderr: bool,
    /// Run on a terminal.
    pub terminal: bool,
}

/// Why a request was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// The path leads nowhere.
    #[error("the server could not find the requested resource")]
    Path,
    /// A parameter does not parse.
    #[error("invalid value {value:?} of parameter {name}")]
    Parameter {
        /// Its name.
        name: &'static str,
        /// What it was.
        value: String,
    },
    /// Nothing to run.
    #[error("you must specify at least 1 command")]
    NoCommand,
    /// Nothing to stream.
    #[error("you must specify at least 1 of stdin, stdout, stderr")]
    NoStream,
}

impl StreamRequest {
    /// Understands a path such as `/exec/NAMESPACE/POD/CONTAINER` and its query; `now` is what `sinceSeconds` counts from.
    ///
    /// # Errors
    /// The first part that makes no sense.
    pub fn parse(path: &str, query: &str, now: Timestamp) -> Result<Self, BadRequest> {
        let mut parts = path.trim_start_matches('/').split('/').map(percent_decoded);
        let (Some(kind), Some(namespace), Some(pod), Some(container), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(BadRequest::Path);
        };
        let query = Query::parse(query);
        let action = match kind.as_str() {
            "containerLogs" => Action::Logs(query.log(now)?),
            "exec" => Action::Exec { command: query.command()?, streams: query.streams()? },
            "attach" => Action::Attach(query.streams()?),
            _ => return Err(BadRequest::Path),
        };
        Ok(Self { namespace, pod, container, action })
    }
}

/// Parameters by name, each with its values in order.
struct Query(BTreeMap<String, Vec<String>>);

impl Query {
    fn parse(query: &str) -> Self {
        let mut parameters: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            parameters.entry(form_decoded(name)).or_default().push(form_decoded(value));
        }
        Self(parameters)
    }

    fn last(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.last().map(String::as_str)
    }

    fn is_set(&self, name: &str) -> bool {
        matches!(self.last(name), Some("true" | "1"))
    }

    fn number<T: std::str::FromStr>(&self, name: &'static str) -> Result<Option<T>, BadRequest> {
        let parse = |value: &str| value.parse().map_err(|_| BadRequest::Parameter { name, value: value.to_owned() });
        self.last(name).map(parse).transpose()
    }

    fn log(&self, now: Timestamp) -> Result<LogQuery, BadRequest> {
        let seconds: Option<i64> = self.number("sinceSeconds")?;
        let since = seconds.map(|seconds| now.saturating_sub(SignedDuration::from_secs(seconds)).unwrap_or(now));
        Ok(LogQuery {
            follow: self.is_set("follow"),
            previous: self.is_set("previous"),
            timestamps: self.is_set("timestamps"),
            tail_lines: self.number("tailLines")?,
            since: self.number("sinceTime")?.or(since),
            limit_bytes: self.number("limitBytes")?,
        })
    }

    fn command(&self) -> Result<Vec<String>, BadRequest> {
        self.0.get("command").cloned().ok_or(BadRequest::NoCommand)
    }

    fn streams(&self) -> Result<Streams, BadRequest> {
        let terminal = self.is_set("tty");
        let streams = Streams {
            stdin: self.is_set("stdin"),
            stdout: self.is_set("stdout"),
            stderr: self.is_set("stderr") && !terminal,
            terminal,
        };
        if streams.stdin || streams.stdout || streams.stderr { Ok(streams) } else { Err(BadRequest::NoStream) }
    }
}

fn form_decoded(text: &str) -> String {
    percent_decoded(&text.replace('+', " "))
}

/// Decodes `%XX`; what is no escape stays as it is.
fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        let value = escape.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        decoded.push(value.unwrap_or(bytes[at]));
        at += if value.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(path: &str, query: &str) -> Result<StreamRequest, BadRequest> {
        StreamRequest::parse(path, query, "2026-11-21T16:00:00Z".parse().unwrap())
    }

    #[test]
    fn a_command_keeps_its_words_and_their_order() {
        let request =
            parse("/exec/ns/pod/c", "command=sh&command=-c&command=echo+a%20%26b&stdout=true&tty=1&stderr=true");
        let streams = Streams { stdout: true, terminal: true, ..Streams::default() };
        let command = ["sh", "-c", "echo a &b"].map(str::to_owned).to_vec();
        let expected = StreamRequest {
            namespace: "ns".into(),
            pod: "pod".into(),
            container: "c".into(),
            action: Action::Exec { command, streams },
        };
        assert_eq!(request, Ok(expected));
    }

    #[test]
    fn logs_understand_every_parameter() {
        let query = "follow=true&previous=true&timestamps=true&tailLines=5&sinceSeconds=60&limitBytes=100";
        let expected = LogQuery {
            follow: true,
            previous: true,
            timestamps: true,
            tail_lines: Some(5),
            since: Some("2026-11-21T15:59:00Z".parse().unwrap()),
            limit_bytes: Some(100),
        };
        assert_eq!(parse("/containerLogs/ns/pod/c", query).unwrap().action, Action::Logs(expected));
        let time = parse("/containerLogs/ns/pod/c", "sinceTime=2026-11-21T10%3A00%3A00Z").unwrap().action;
        assert!(matches!(time, Action::Logs(LogQuery { since: Some(_), .. })));
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        assert_eq!(parse("/exec/ns/pod", "command=ls"), Err(BadRequest::Path));
        assert_eq!(parse("/other/ns/pod/c", ""), Err(BadRequest::Path));
        assert_eq!(parse("/exec/ns/pod/c", "stdout=true"), Err(BadRequest::NoCommand));
        assert_eq!(parse("/attach/ns/pod/c", ""), Err(BadRequest::NoStream));
        let expected = BadRequest::Parameter { name: "tailLines", value: "x".into() };
        assert_eq!(parse("/containerLogs/ns/pod/c", "tailLines=x"), Err(expected));
    }
}
