//! Changes as they happen, as lines of JSON.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serde_json::json;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::list::{Filter, expired};
use crate::api::{Api, Call, Clock, Reply, ReplyBody, shaped, storage_of};
use crate::error::ApiError;
use crate::http::query::ListOptions;
use crate::ids;
use crate::kinds::Resource;
use crate::render::{Columns, Renderer, to_bytes};
use crate::store::{ChangeKind, Cursor, Event, Object};

/// Watches end after this, and up to as much again, so that they do not all come back at once.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30 * 60);
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);
/// How long before its end a watch says once more where it has got to.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);
/// Objects per chunk of initial events.
const CHUNK: usize = 64;

/// A watch under way.
pub(crate) struct Watch {
    cursor: Cursor,
    filter: Filter,
    renderer: Renderer,
    clock: Clock,
    columns: Columns,
    initial: Option<Initial>,
    bookmarks: Option<Instant>,
    deadline: Instant,
    ended: bool,
}

/// The objects there were when the watch began, still to be sent.
struct Initial {
    objects: std::vec::IntoIter<Arc<Object>>,
    revision: u64,
    /// Whether the client wants to know where they end.
    marked: bool,
}

/// What a watch sends an object as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EventType {
    Added,
    Modified,
    Deleted,
}

/// What a waiting watch was woken by.
enum Wake {
    Events(Vec<Arc<Event>>),
    Behind(ApiError),
    BookmarkDue,
    End,
}

impl Api {
    pub(crate) fn watch(&self, call: &Call) -> Result<Reply, ApiError> {
        let options = call.query.list_options()?;
        let filter = Filter::of(call, &options)?;
        let body = match self.begin_watch(call, &options, filter) {
            Ok(watch) => ReplyBody::Watch(Box::new(watch)),
            // A watch answers 200 and says what is wrong as its first and only event.
            Err(error) => ReplyBody::Json(error_line(&error)),
        };
        Ok(Reply { code: 200, body, warnings: Vec::new() })
    }

    fn begin_watch(&self, call: &Call, options: &ListOptions, filter: Filter) -> Result<Watch, ApiError> {
        let asked = options.resource_version.unwrap_or(0);
        self.require_revision(asked)?;
        let snapshot = wants_initial(options).then(|| call.objects(&self.store));
        let from = match &snapshot {
            Some(snapshot) => snapshot.revision,
            None if asked == 0 => self.store.revision(),
            None => asked,
        };
        let now = Instant::now();
        let deadline = now + timeout(options);
        Ok(Watch {
            cursor: self.store.watch(&storage_of(call.resource), from).map_err(expired)?,
            filter,
            renderer: call.renderer(),
            clock: self.clock.clone(),
            columns: Columns::Defined,
            initial: snapshot.map(|snapshot| Initial {
                objects: snapshot.objects.into_iter(),
                revision: snapshot.revision,
                marked: options.send_initial_events == Some(true) && options.allow_bookmarks,
            }),
            bookmarks: options.allow_bookmarks.then(|| next_bookmark(now, deadline)),
            deadline,
            ended: false,
        })
    }
}

/// Whether a watch starts with the objects there are.
fn wants_initial(options: &ListOptions) -> bool {
    options.send_initial_events.unwrap_or(options.resource_version.unwrap_or(0) == 0)
}

fn timeout(options: &ListOptions) -> Duration {
    match options.timeout_seconds.filter(|seconds| *seconds > 0) {
        Some(seconds) => Duration::from_secs(seconds.into()),
        None => DEFAULT_TIMEOUT + Duration::from_secs(ids::random_below(30 * 60).into()),
    }
}

/// When to say next how far a watch has got: regularly, and once more shortly before its end.
fn next_bookmark(now: Instant, deadline: Instant) -> Instant {
    let last = deadline.checked_sub(LAST_BOOKMARK).unwrap_or(now);
    if now < last { last.min(now + BOOKMARK_INTERVAL) } else { deadline }
}

impl Watch {
    /// The next lines; `None` when the watch has ended, by its time or because the server stops.
    pub async fn next(&mut self, stop: &CancellationToken) -> Option<Bytes> {
        while !self.ended {
            if let Some(chunk) = self.next_initial() {
                return Some(chunk);
            }
            let lines = match self.wait(stop).await {
                Wake::Events(events) => self.render_events(&events),
                Wake::Behind(error) => {
                    self.ended = true;
                    error_line(&error)
                }
                Wake::BookmarkDue => self.catch_up(),
                Wake::End => return None,
            };
            if !lines.is_empty() {
                return Some(lines);
            }
        }
        None
    }

    async fn wait(&mut self, stop: &CancellationToken) -> Wake {
        let bookmark = self.bookmarks.unwrap_or(self.deadline);
        tokio::select! {
            biased;
            () = stop.cancelled() => Wake::End,
            () = sleep_until(self.deadline) => Wake::End,
            () = sleep_until(bookmark) => Wake::BookmarkDue,
            events = self.cursor.next() => match events {
                Ok(events) => Wake::Events(events),
                Err(compacted) => Wake::Behind(expired(compacted)),
            },
        }
    }

    fn next_initial(&mut self) -> Option<Bytes> {
        loop {
            let initial = self.initial.as_mut()?;
            let mut objects: Vec<_> = initial.objects.by_ref().take(CHUNK).collect();
            let mut lines = BytesMut::new();
            if objects.is_empty() {
                let (revision, marked) = (initial.revision, initial.marked);
                self.initial = None;
                if !marked {
                    return None;
                }
                write_line(&mut lines, "BOOKMARK", &to_bytes(&self.renderer.bookmark(revision, true)));
                return Some(lines.freeze());
            }
            objects.retain(|object| self.filter.matches(&object.value));
            for object in &objects {
                self.write_event(&mut lines, EventType::Added, object);
            }
            if !lines.is_empty() {
                return Some(lines.freeze());
            }
        }
    }

    fn render_events(&mut self, events: &[Arc<Event>]) -> Bytes {
        let mut lines = BytesMut::new();
        for event in events {
            if let Some((kind, object)) = seen(&self.filter, self.renderer.resource, event) {
                self.write_event(&mut lines, kind, &object);
            }
        }
        lines.freeze()
    }

    /// What there still is to tell, and how far that is.
    fn catch_up(&mut self) -> Bytes {
        match self.cursor.try_next() {
            Ok(Some(events)) => self.render_events(&events),
            Ok(None) => self.render_bookmark(),
            Err(compacted) => {
                self.ended = true;
                error_line(&expired(compacted))
            }
        }
    }

    fn render_bookmark(&mut self) -> Bytes {
        self.bookmarks = Some(next_bookmark(Instant::now(), self.deadline));
        let mut lines = BytesMut::new();
        write_line(&mut lines, "BOOKMARK", &to_bytes(&self.renderer.bookmark(self.cursor.position(), false)));
        lines.freeze()
    }

    fn write_event(&mut self, lines: &mut BytesMut, kind: EventType, object: &Object) {
        let rendered = self.renderer.one(object, self.columns, (self.clock)());
        self.columns = Columns::Known;
        write_line(lines, kind.name(), &rendered);
    }
}

impl EventType {
    fn name(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// What a client with this filter sees of a change: an object that leaves its view is deleted to it.
fn seen(filter: &Filter, resource: &'static Resource, event: &Event) -> Option<(EventType, Arc<Object>)> {
    let object = shaped(resource, event.change.object.clone());
    let previous = event.previous.clone().map(|previous| shaped(resource, previous));
    let before = previous.filter(|previous| filter.matches(&previous.value));
    match (event.change.kind, before) {
        (ChangeKind::Deleted, before) => {
            (before.is_some() || filter.matches(&object.value)).then_some((EventType::Deleted, object))
        }
        (_, None) => filter.matches(&object.value).then_some((EventType::Added, object)),
        (_, Some(_)) if filter.matches(&object.value) => Some((EventType::Modified, object)),
        (_, Some(previous)) => Some((EventType::Deleted, at_revision(&previous, object.revision))),
    }
}

fn at_revision(object: &Object, revision: u64) -> Arc<Object> {
    let mut value = object.value.clone();
    value["metadata"]["resourceVersion"] = json!(revision.to_string());
    Arc::new(Object { revision, json: to_bytes(&value), value })
}

fn error_line(error: &ApiError) -> Bytes {
    let mut lines = BytesMut::new();
    write_line(&mut lines, "ERROR", &to_bytes(&error.to_status()));
    lines.freeze()
}

fn write_line(lines: &mut BytesMut, kind: &str, object: &[u8]) {
    lines.extend_from_slice(format!(r#"{{"type":"{kind}","object":"#).as_bytes());
    lines.extend_from_slice(object);
    lines.extend_from_slice(b"}\n");
}
