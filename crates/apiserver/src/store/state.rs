//! The state in memory: objects by name and the recent revisions of each resource. Pure; the writer applies changes to it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::watch;

use crate::error::GroupResource;

/// Where an object is stored.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub resource: GroupResource,
    /// Empty for cluster-scoped objects.
    pub namespace: String,
    pub name: String,
}

/// One stored version of an object, immutable, as a value and as the JSON text that answers carry.
#[derive(Debug)]
pub(crate) struct Object {
    pub revision: u64,
    pub value: Value,
    pub json: Bytes,
}

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    Added,
    Modified,
    Deleted,
}

/// One entry of the revision log.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub key: Key,
    pub kind: ChangeKind,
    /// The new version; for a deletion the last one, with the revision of the deletion.
    pub object: Arc<Object>,
}

/// A change as watches see it.
#[derive(Debug)]
pub(crate) struct Event {
    pub change: Change,
    /// The version that was replaced.
    pub previous: Option<Arc<Object>>,
}

/// The revision asked for is older than the log reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too old resource version: {asked} ({oldest})")]
pub(crate) struct Compacted {
    pub asked: u64,
    pub oldest: u64,
}

/// How much history one resource keeps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogLimits {
    pub events: usize,
    pub bytes: usize,
}

/// Objects of one resource at one revision, ordered by namespace and name.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    pub revision: u64,
    pub objects: Vec<Arc<Object>>,
}

#[derive(Debug)]
pub(super) struct State {
    pub revision: u64,
    shelves: HashMap<GroupResource, Shelf>,
    limits: LogLimits,
}

/// The objects of one resource and its part of the revision log.
#[derive(Debug)]
struct Shelf {
    objects: BTreeMap<ObjectName, Arc<Object>>,
    log: VecDeque<Arc<Event>>,
    log_bytes: usize,
    /// Every change after this revision is in `log`.
    floor: u64,
    news: watch::Sender<u64>,
}

type ObjectName = (String, String);

/// What trimming a log freed: records the disk need not keep, and the floor that makes that safe.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Garbage {
    pub revisions: Vec<u64>,
    pub floors: HashMap<GroupResource, u64>,
}

impl State {
    pub fn new(limits: LogLimits) -> Self {
        Self { revision: 0, shelves: HashMap::new(), limits }
    }

    /// Sets how far back the log of a resource reaches; only before its first change is applied.
    pub fn set_floor(&mut self, resource: &GroupResource, floor: u64) {
        self.shelf_mut(resource).floor = floor;
    }

    pub fn get(&self, key: &Key) -> Option<Arc<Object>> {
        let name = (key.namespace.clone(), key.name.clone());
        self.shelves.get(&key.resource)?.objects.get(&name).cloned()
    }

    /// All objects of a resource, of one namespace or (with `None`) of all.
    pub fn list(&self, resource: &GroupResource, namespace: Option<&str>) -> Snapshot {
        let objects = self.shelves.get(resource).map(|shelf| select(&shelf.objects, namespace)).unwrap_or_default();
        Snapshot { revision: self.revision, objects }
    }

    /// The objects of a resource as they were at `revision`, by undoing what came after.
    pub fn list_at(
        &self,
        resource: &GroupResource,
        namespace: Option<&str>,
        revision: u64,
    ) -> Result<Snapshot, Compacted> {
        let Some(shelf) = self.shelves.get(resource) else { return Ok(Snapshot { revision, objects: Vec::new() }) };
        let mut changes = shelf.after(revision)?.rev().peekable();
        if changes.peek().is_none() {
            return Ok(Snapshot { revision, objects: select(&shelf.objects, namespace) });
        }
        let mut objects = shelf.objects.clone();
        for event in changes {
            let key = &event.change.key;
            let name = (key.namespace.clone(), key.name.clone());
            match &event.previous {
                Some(previous) => objects.insert(name, previous.clone()),
                None => objects.remove(&name),
            };
        }
        Ok(Snapshot { revision, objects: select(&objects, namespace) })
    }

    /// Up to `limit` changes of a resource after a revision, oldest first.
    pub fn changes(&self, resource: &GroupResource, after: u64, limit: usize) -> Result<Vec<Arc<Event>>, Compacted> {
        match self.shelves.get(resource) {
            Some(shelf) => Ok(shelf.after(after)?.take(limit).cloned().collect()),
            None => Ok(Vec::new()),
        }
    }

    /// The revision of the newest change to a resource, as far as the log tells; 0 if nothing of it ever changed.
    pub fn newest_change(&self, resource: &GroupResource) -> u64 {
        let Some(shelf) = self.shelves.get(resource) else { return 0 };
        shelf.log.back().map_or(shelf.floor, |event| event.change.object.revision)
    }

    /// Tells of changes to a resource; the value is the revision of the newest.
    pub fn subscribe(&mut self, resource: &GroupResource) -> watch::Receiver<u64> {
        self.shelf_mut(resource).news.subscribe()
    }

    /// Takes in one change and returns what the log no longer needs.
    pub fn apply(&mut self, change: Change, garbage: &mut Garbage) {
        self.revision = self.revision.max(change.object.revision);
        let limits = self.limits;
        let resource = change.key.resource.clone();
        let shelf = self.shelf_mut(&resource);
        shelf.apply(change, garbage);
        if shelf.trim(limits, garbage) {
            garbage.floors.insert(resource, shelf.floor);
        }
    }

    /// Wakes the watches of every resource that changed.
    pub fn announce(&self, resources: impl IntoIterator<Item = GroupResource>) {
        for resource in resources {
            if let Some(shelf) = self.shelves.get(&resource) {
                shelf.news.send_replace(self.revision);
            }
        }
    }

    fn shelf_mut(&mut self, resource: &GroupResource) -> &mut Shelf {
        if !self.shelves.contains_key(resource) {
            self.shelves.insert(resource.clone(), Shelf::new());
        }
        self.shelves.entry(resource.clone()).or_insert_with(Shelf::new)
    }
}

impl Shelf {
    fn new() -> Self {
        let (objects, log) = (BTreeMap::new(), VecDeque::new());
        Self { objects, log, log_bytes: 0, floor: 0, news: watch::Sender::new(0) }
    }

    fn after(&self, revision: u64) -> Result<impl DoubleEndedIterator<Item = &Arc<Event>>, Compacted> {
        if revision < self.floor {
            return Err(Compacted { asked: revision, oldest: self.floor });
        }
        let start = self.log.partition_point(|event| event.change.object.revision <= revision);
        Ok(self.log.range(start..))
    }

    fn apply(&mut self, change: Change, garbage: &mut Garbage) {
        let name = (change.key.namespace.clone(), change.key.name.clone());
        let previous = match change.kind {
            ChangeKind::Deleted => self.objects.remove(&name),
            ChangeKind::Added | ChangeKind::Modified => self.objects.insert(name, change.object.clone()),
        };
        let event = Event { change, previous };
        if event.change.object.revision <= self.floor {
            garbage.revisions.extend(event.superseded());
            return;
        }
        self.log_bytes += event.size();
        self.log.push_back(Arc::new(event));
    }

    /// Drops the oldest quarter of a log that has outgrown its limits; true if anything was dropped.
    fn trim(&mut self, limits: LogLimits, garbage: &mut Garbage) -> bool {
        if self.log.len() <= limits.events && self.log_bytes <= limits.bytes {
            return false;
        }
        let (keep_events, keep_bytes) = (limits.events / 4 * 3, limits.bytes / 4 * 3);
        while self.log.len() > keep_events || self.log_bytes > keep_bytes {
            let Some(event) = self.log.pop_front() else { break };
            self.log_bytes -= event.size();
            self.floor = event.change.object.revision;
            garbage.revisions.extend(event.superseded());
        }
        true
    }
}

impl Event {
    fn size(&self) -> usize {
        self.change.object.json.len()
    }

    /// The records that nothing refers to once this event has left the log.
    fn superseded(&self) -> impl Iterator<Item = u64> {
        let tombstone = (self.change.kind == ChangeKind::Deleted).then_some(self.change.object.revision);
        self.previous.as_ref().map(|previous| previous.revision).into_iter().chain(tombstone)
    }
}

fn select(objects: &BTreeMap<ObjectName, Arc<Object>>, namespace: Option<&str>) -> Vec<Arc<Object>> {
    match namespace {
        None => objects.values().cloned().collect(),
        Some(namespace) => objects
            .range((namespace.to_owned(), String::new())..)
            .take_while(|((of, _), _)| of == namespace)
            .map(|(_, object)| object.clone())
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PODS: GroupResource = GroupResource::of("", "pods");
    const SMALL: LogLimits = LogLimits { events: 4, bytes: 1 << 20 };

    fn change(revision: u64, name: &str, kind: ChangeKind) -> Change {
        let value = json!({ "metadata": { "name": name }, "at": revision });
        let json = Bytes::from(value.to_string());
        let key = Key { resource: PODS, namespace: "default".into(), name: name.into() };
        Change { key, kind, object: Arc::new(Object { revision, value, json }) }
    }

    fn state(changes: &[(&str, ChangeKind)]) -> (State, Garbage) {
        let (mut state, mut garbage) = (State::new(SMALL), Garbage::default());
        for (index, (name, kind)) in changes.iter().enumerate() {
            state.apply(change(index as u64 + 1, name, *kind), &mut garbage);
        }
        (state, garbage)
    }

    fn names(snapshot: &Snapshot) -> Vec<(&str, u64)> {
        let name = |object: &'_ Arc<Object>| object.revision;
        snapshot.objects.iter().map(|o| (o.value["metadata"]["name"].as_str().unwrap(), name(o))).collect()
    }

    #[test]
    fn an_old_revision_is_rebuilt_by_undoing_the_log() {
        use ChangeKind::{Added, Deleted, Modified};
        let (state, _) = state(&[("a", Added), ("b", Added), ("a", Modified), ("b", Deleted)]);
        assert_eq!(names(&state.list(&PODS, None)), [("a", 3)]);
        assert_eq!(names(&state.list_at(&PODS, None, 3).unwrap()), [("a", 3), ("b", 2)]);
        assert_eq!(names(&state.list_at(&PODS, None, 2).unwrap()), [("a", 1), ("b", 2)]);
        assert_eq!(names(&state.list_at(&PODS, Some("other"), 2).unwrap()), []);
        assert_eq!(names(&state.list_at(&PODS, None, 0).unwrap()), []);
    }

    #[test]
    fn a_trimmed_log_refuses_what_it_no_longer_knows() {
        use ChangeKind::{Added, Deleted, Modified};
        let (state, garbage) =
            state(&[("a", Added), ("a", Modified), ("b", Added), ("b", Deleted), ("c", Added), ("d", Added)]);
        // The fifth event trims the log to three; 1 is superseded by 2.
        assert_eq!(garbage, Garbage { revisions: vec![1], floors: HashMap::from([(PODS, 2)]) });
        assert_eq!(state.changes(&PODS, 1, 10).unwrap_err(), Compacted { asked: 1, oldest: 2 });
        assert_eq!(state.changes(&PODS, 2, 10).unwrap().len(), 4);
        assert_eq!(state.list_at(&PODS, None, 1).unwrap_err(), Compacted { asked: 1, oldest: 2 });
    }

    #[test]
    fn a_dropped_deletion_frees_its_tombstone_and_the_version_before() {
        use ChangeKind::{Added, Deleted};
        let (_, garbage) = state(&[("a", Added), ("a", Deleted), ("b", Added), ("c", Added), ("d", Added)]);
        assert_eq!(garbage.revisions, [1, 2]);
    }

    #[test]
    fn records_below_the_floor_rebuild_objects_but_not_the_log() {
        let (mut state, mut garbage) = (State::new(SMALL), Garbage::default());
        state.set_floor(&PODS, 5);
        state.apply(change(3, "a", ChangeKind::Added), &mut garbage);
        state.apply(change(7, "b", ChangeKind::Added), &mut garbage);
        assert_eq!(names(&state.list(&PODS, Some("default"))), [("a", 3), ("b", 7)]);
        assert!(state.changes(&PODS, 4, 10).is_err());
        assert_eq!(state.changes(&PODS, 5, 10).unwrap().len(), 1);
    }
}
