//! Events: what a controller did to an object, for `kubectl describe` and `kubectl events`.

use std::{collections::HashMap, sync::Arc};

use apiserver::client::{Client, ClientError, EVENTS, Patch};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::kind::Kind;

/// Events waiting to be written; more are dropped, they are for people only.
const WAITING: usize = 4096;
/// How many different events are remembered for counting repetitions.
const REMEMBERED: usize = 4096;

/// Whether an event tells of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Severity {
    /// As planned.
    Normal,
    /// Somebody may want to look.
    Warning,
}

/// Records events in the name of one component; clones share the way to the server.
#[derive(Clone)]
pub(crate) struct Recorder {
    component: Arc<str>,
    queue: mpsc::Sender<Note>,
}

/// Writes what recorders recorded.
pub(crate) struct EventWriter {
    client: Client,
    queue: mpsc::Receiver<Note>,
    seen: HashMap<Repetition, Seen>,
}

struct Note {
    repetition: Repetition,
    object: Value,
    at: Timestamp,
}

/// What makes two events the same.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Repetition {
    component: Arc<str>,
    uid: String,
    part: Option<String>,
    severity: Severity,
    reason: String,
    message: String,
}

struct Seen {
    namespace: String,
    name: String,
    count: u32,
}

/// A recorder and the writer behind it, which ends with the last recorder.
pub(crate) fn recorder(client: &Client) -> (Recorder, EventWriter) {
    let (sender, receiver) = mpsc::channel(WAITING);
    let writer = EventWriter { client: client.clone(), queue: receiver, seen: HashMap::new() };
    (Recorder { component: Arc::from("fairway"), queue: sender }, writer)
}

impl Recorder {
    /// The same recorder in the name of another component, as in `deployment-controller`.
    pub(crate) fn of(&self, component: &str) -> Self {
        Self { component: Arc::from(component), queue: self.queue.clone() }
    }

    /// All went as planned.
    pub(crate) fn normal<K: Kind>(&self, object: &K, reason: &str, message: String) {
        self.record(object, Severity::Normal, reason, message);
    }

    /// Something is in the way.
    pub(crate) fn warning<K: Kind>(&self, object: &K, reason: &str, message: String) {
        self.record(object, Severity::Warning, reason, message);
    }

    /// Something happened to one part of an object, as in `spec.containers{web}`.
    pub(crate) fn about_part<K: Kind>(
        &self,
        object: &K,
        part: &str,
        severity: Severity,
        (reason, message): (&str, String),
    ) {
        let mut reference = reference(object);
        reference["fieldPath"] = json!(part);
        self.record_about(object, reference, severity, (reason, message));
    }

    fn record<K: Kind>(&self, object: &K, severity: Severity, reason: &str, message: String) {
        self.record_about(object, reference(object), severity, (reason, message));
    }

    fn record_about<K: Kind>(&self, object: &K, about: Value, severity: Severity, (reason, message): (&str, String)) {
        let repetition = Repetition {
            component: Arc::clone(&self.component),
            uid: object.uid().to_owned(),
            part: about["fieldPath"].as_str().map(str::to_owned),
            severity,
            reason: reason.to_owned(),
            message,
        };
        let note = Note { repetition, object: about, at: Timestamp::now() };
        if self.queue.try_send(note).is_err() {
            tracing::debug!(object = %object.key(), reason, "event dropped: too many at once");
        }
    }
}

impl EventWriter {
    /// Writes until every recorder is gone.
    pub(crate) async fn run(mut self) {
        while let Some(note) = self.queue.recv().await {
            if let Err(error) = self.write(&note).await {
                // A namespace on its way out takes no events.
                tracing::debug!(reason = note.repetition.reason, %error, "event not written");
            }
        }
    }

    async fn write(&mut self, note: &Note) -> Result<(), ClientError> {
        if let Some(seen) = self.seen.get_mut(&note.repetition) {
            seen.count += 1;
            let patch = Patch::Merge(json!({"count": seen.count, "lastTimestamp": Time(note.at)}));
            match self.client.patch(&EVENTS, &seen.namespace, &seen.name, &patch).await {
                Err(error) if error.is_not_found() => {}
                result => return result.map(drop),
            }
        }
        let event = first_event(note);
        let text = |field: &str| event["metadata"][field].as_str().unwrap_or_default().to_owned();
        let seen = Seen { namespace: text("namespace"), name: text("name"), count: 1 };
        let client = self.client.as_manager(&note.repetition.component);
        client.create(&EVENTS, &seen.namespace, &event).await?;
        if self.seen.len() >= REMEMBERED {
            self.seen.clear();
        }
        self.seen.insert(note.repetition.clone(), seen);
        Ok(())
    }
}

fn first_event(note: &Note) -> Value {
    let Repetition { component, severity, reason, message, .. } = &note.repetition;
    let namespace = note.object["namespace"].as_str().unwrap_or("default");
    let name = note.object["name"].as_str().unwrap_or_default();
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"namespace": namespace, "name": format!("{name}.{:x}", note.at.as_nanosecond())},
        "involvedObject": note.object,
        "type": match severity { Severity::Normal => "Normal", Severity::Warning => "Warning" },
        "reason": reason,
        "message": message,
        "source": {"component": &**component},
        "reportingComponent": &**component,
        "reportingInstance": "",
        "firstTimestamp": Time(note.at),
        "lastTimestamp": Time(note.at),
        "count": 1,
    })
}

fn reference<K: Kind>(object: &K) -> Value {
    let mut reference = json!({
        "apiVersion": K::API_VERSION,
        "kind": K::KIND,
        "name": object.name(),
        "uid": object.uid(),
        "resourceVersion": object.metadata().resource_version,
    });
    if !object.namespace().is_empty() {
        reference["namespace"] = json!(object.namespace());
    }
    reference
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Node;

    use super::*;

    #[test]
    fn an_event_of_a_cluster_wide_object_lives_in_the_default_namespace() {
        let node: Node = serde_json::from_value(json!({"metadata": {"name": "node1", "uid": "u1"}})).unwrap();
        let repetition = Repetition {
            component: Arc::from("node-controller"),
            uid: "u1".into(),
            part: None,
            severity: Severity::Normal,
            reason: "NodeReady".into(),
            message: "ready".into(),
        };
        let note = Note { repetition, object: reference(&node), at: Timestamp::UNIX_EPOCH };
        let event = first_event(&note);
        assert_eq!(event["metadata"], json!({"namespace": "default", "name": "node1.0"}));
        assert_eq!(event["firstTimestamp"], "1970-01-01T00:00:00Z");
        assert_eq!(event["involvedObject"]["kind"], "Node");
    }
}
