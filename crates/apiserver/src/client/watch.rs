//! A watch that never ends: it lists, follows, and starts over when it lost track.

use std::{mem, time::Duration};

use bytes::BytesMut;
use futures::future::BoxFuture;
use hyper::Method;
use serde::Deserialize;
use serde_json::Value;

use super::{Client, ClientError, Gvr, ListOptions, StatusError, address::Address, object, transport::Streaming};

const FIRST_RETRY: Duration = Duration::from_millis(20);
const LAST_RETRY: Duration = Duration::from_secs(2);
/// The server ends a watch after this long; going on from there costs nothing.
const WATCH_SECONDS: u32 = 290;

/// What happened to the objects of a watched kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// These are all objects there are; whatever else was known is gone. Always the first event.
    Restarted(Vec<Value>),
    /// The object is new or has changed.
    Applied(Value),
    /// The object is gone, or no longer selected; this is its last state.
    Deleted(Value),
}

/// An endless stream of [`Event`]s.
pub struct Watch {
    next: BoxFuture<'static, (Event, Watcher)>,
}

impl Watch {
    pub(super) fn new(client: Client, gvr: Gvr, namespace: String, options: ListOptions) -> Self {
        let watcher = Watcher { client, gvr, namespace, options, phase: Phase::List, retry_after: FIRST_RETRY };
        Self { next: Box::pin(watcher.advance()) }
    }

    /// Waits for the next event; nothing is lost if the wait is given up. Failures are retried without end.
    pub async fn next(&mut self) -> Event {
        let (event, watcher) = (&mut self.next).await;
        self.next = Box::pin(watcher.advance());
        event
    }
}

struct Watcher {
    client: Client,
    gvr: Gvr,
    namespace: String,
    options: ListOptions,
    phase: Phase,
    retry_after: Duration,
}

enum Phase {
    /// Nothing is known.
    List,
    /// All up to this resource version is known.
    Connect(String),
    /// Changes since this resource version arrive.
    Follow(String, Lines),
}

impl Watcher {
    async fn advance(mut self) -> (Event, Self) {
        loop {
            match self.step().await {
                Ok(Some(event)) => return (event, self),
                Ok(None) => {}
                Err(error) => self.start_over(&error).await,
            }
        }
    }

    /// One request or one line; a failure leaves the phase at `List`.
    async fn step(&mut self) -> Result<Option<Event>, ClientError> {
        match mem::replace(&mut self.phase, Phase::List) {
            Phase::List => {
                let list = self.client.list(&self.gvr, &self.namespace, &self.options).await?;
                self.phase = Phase::Connect(list.resource_version);
                Ok(Some(Event::Restarted(list.items)))
            }
            Phase::Connect(version) => {
                let lines = Lines::new(self.open(&version).await?);
                self.phase = Phase::Follow(version, lines);
                Ok(None)
            }
            Phase::Follow(version, mut lines) => match lines.next().await? {
                Some(line) => self.follow(line, lines, version),
                None => {
                    self.phase = Phase::Connect(version);
                    self.pause().await;
                    Ok(None)
                }
            },
        }
    }

    async fn open(&self, version: &str) -> Result<Streaming, ClientError> {
        let address = Address::collection(&self.gvr, &self.namespace)
            .queries(self.options.queries())
            .query("watch", "true")
            .query("allowWatchBookmarks", "true")
            .query("timeoutSeconds", &WATCH_SECONDS.to_string())
            .query("resourceVersion", version);
        self.client.transport.stream(self.client.call(Method::GET, address)).await
    }

    fn follow(&mut self, line: Line, lines: Lines, version: String) -> Result<Option<Event>, ClientError> {
        if line.kind == LineKind::Error {
            return Err(ClientError::Status(StatusError::from_status(500, &line.object)));
        }
        self.retry_after = FIRST_RETRY;
        let seen = object::resource_version(&line.object);
        self.phase = Phase::Follow(if seen.is_empty() { version } else { seen.to_owned() }, lines);
        Ok(match line.kind {
            LineKind::Added | LineKind::Modified => Some(Event::Applied(line.object)),
            LineKind::Deleted => Some(Event::Deleted(line.object)),
            LineKind::Bookmark | LineKind::Error => None,
        })
    }

    async fn start_over(&mut self, error: &ClientError) {
        if error.is_retryable() {
            tracing::debug!(plural = self.gvr.plural, error = %error, "watch interrupted, listing again");
        } else {
            tracing::warn!(plural = self.gvr.plural, error = %error, "watch refused, trying again");
        }
        self.pause().await;
    }

    /// Waits longer each time until an event arrives.
    async fn pause(&mut self) {
        tokio::time::sleep(self.retry_after).await;
        self.retry_after = (self.retry_after * 2).min(LAST_RETRY);
    }
}

/// One line of a watch's answer.
#[derive(Debug, Deserialize)]
struct Line {
    #[serde(rename = "type")]
    kind: LineKind,
    object: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum LineKind {
    Added,
    Modified,
    Deleted,
    Bookmark,
    Error,
}

/// Cuts the body of a watch into its lines.
struct Lines {
    body: Streaming,
    buffer: BytesMut,
    /// How much of the buffer is known to hold no line end.
    scanned: usize,
}

impl Lines {
    fn new(body: Streaming) -> Self {
        Self { body, buffer: BytesMut::new(), scanned: 0 }
    }

    /// The next line; `None` at the end of the body, half a line there is dropped.
    async fn next(&mut self) -> Result<Option<Line>, ClientError> {
        loop {
            if let Some(line) = take_line(&mut self.buffer, &mut self.scanned) {
                let request = self.body.request().to_owned();
                return serde_json::from_slice(&line)
                    .map(Some)
                    .map_err(|source| ClientError::Decode { request, source });
            }
            match self.body.chunk().await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }
}

/// Cuts the first complete, non-empty line off the buffer.
fn take_line(buffer: &mut BytesMut, scanned: &mut usize) -> Option<BytesMut> {
    while let Some(found) = buffer[*scanned..].iter().position(|&byte| byte == b'\n') {
        let line = buffer.split_to(*scanned + found + 1);
        *scanned = 0;
        if !line.trim_ascii().is_empty() {
            return Some(line);
        }
    }
    *scanned = buffer.len();
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_wherever_the_chunks_end() {
        let (mut buffer, mut scanned) = (BytesMut::new(), 0);
        let mut lines = Vec::new();
        for chunk in ["{\"a\"", ":1}\n\n{", "}", "\n{\"b\":", "2}\n"] {
            buffer.extend_from_slice(chunk.as_bytes());
            while let Some(line) = take_line(&mut buffer, &mut scanned) {
                lines.push(String::from_utf8(line.to_vec()).unwrap());
            }
        }
        assert_eq!(lines, ["{\"a\":1}\n", "{}\n", "{\"b\":2}\n"]);
    }
}
