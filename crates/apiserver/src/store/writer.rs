//! The one thread that changes state. It runs waiting writes one after another, stores all of them with one commit,
//! and only then shows them to readers and answers the callers.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::Shared;
use super::disk::Disk;
use super::state::{Change, ChangeKind, Garbage, Key, Object};
use crate::error::{ApiError, GroupResource};

/// How many writes may share a commit, and how many may wait.
pub(super) const BATCH: usize = 256;

/// Whether a write is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriteMode {
    Persist,
    /// The write runs to its end, its result is returned, and nothing of it is stored.
    DryRun,
}

/// A write under way: reads see everything written before it, and what it wrote itself.
pub(crate) struct Transaction<'a> {
    shared: &'a Shared,
    batch: &'a mut Batch,
}

/// The changes of the commit that is being prepared.
#[derive(Default)]
pub(super) struct Batch {
    revision: u64,
    changes: Vec<Change>,
    overlay: HashMap<Key, Option<Arc<Object>>>,
    /// For each change, what the overlay said before it.
    undo: Vec<Option<Option<Arc<Object>>>>,
    /// What to do if the commit fails.
    on_lost: Vec<Box<dyn FnOnce() + Send>>,
}

/// Runs one write and returns what answers its caller once the commit is done.
pub(super) type Job = Box<dyn FnOnce(&mut Transaction<'_>) -> Answer + Send>;
type Answer = Box<dyn FnOnce(Result<(), ApiError>) + Send>;

/// Wraps a write and the channel its result goes to.
pub(super) fn job<T, F>(mode: WriteMode, write: F, reply: oneshot::Sender<Result<T, ApiError>>) -> Job
where
    T: Send + 'static,
    F: FnOnce(&mut Transaction<'_>) -> Result<T, ApiError> + Send + 'static,
{
    Box::new(move |transaction| {
        let start = transaction.batch.changes.len();
        let result = catch_unwind(AssertUnwindSafe(|| write(transaction)))
            .unwrap_or_else(|_| Err(ApiError::internal("a write failed unexpectedly; nothing of it was stored")));
        if result.is_err() || mode == WriteMode::DryRun {
            transaction.batch.roll_back(start);
        }
        Box::new(move |committed| {
            // A caller that has gone away no longer wants the answer.
            let _ = reply.send(committed.and(result));
        })
    })
}

/// Serves writes until every sender is gone.
pub(super) fn run(shared: &Shared, mut disk: Disk, mut jobs: mpsc::Receiver<Job>, mut garbage: Garbage) {
    let mut waiting = Vec::with_capacity(BATCH);
    while jobs.blocking_recv_many(&mut waiting, BATCH) > 0 {
        let mut batch = Batch { revision: shared.state().revision, ..Batch::default() };
        let answers: Vec<Answer> =
            waiting.drain(..).map(|job| job(&mut Transaction { shared, batch: &mut batch })).collect();
        let committed = commit(shared, &mut disk, batch.changes, &mut garbage);
        if committed.is_err() {
            batch.on_lost.into_iter().rev().for_each(|undo| undo());
        }
        for answer in answers {
            answer(committed.clone());
        }
    }
}

fn commit(shared: &Shared, disk: &mut Disk, changes: Vec<Change>, garbage: &mut Garbage) -> Result<(), ApiError> {
    if changes.is_empty() {
        return Ok(());
    }
    let revision = shared.state().revision;
    disk.commit(revision, &changes, garbage).map_err(ApiError::internal)?;
    *garbage = Garbage::default();
    let mut state = shared.state.write().unwrap_or_else(PoisonError::into_inner);
    let touched: HashSet<_> = changes.iter().map(|change| change.key.resource.clone()).collect();
    for change in changes {
        state.apply(change, garbage);
    }
    state.announce(touched);
    Ok(())
}

impl Transaction<'_> {
    /// The newest version of an object.
    pub fn get(&self, key: &Key) -> Option<Arc<Object>> {
        match self.batch.overlay.get(key) {
            Some(written) => written.clone(),
            None => self.shared.state().get(key),
        }
    }

    /// The newest versions of all objects of a resource, of all namespaces.
    pub fn list(&self, resource: &GroupResource) -> Vec<Arc<Object>> {
        let written = |key: &Key| self.batch.overlay.get(key);
        let stored = self.shared.state().list(resource, None).objects;
        let untouched = stored.into_iter().filter(|object| written(&key_of(resource, object)).is_none());
        let overlaid = self.batch.overlay.iter().filter(|(key, _)| key.resource == *resource);
        untouched.chain(overlaid.filter_map(|(_, object)| object.clone())).collect()
    }

    /// Stores a new version under the next revision and returns it.
    pub fn put(&mut self, key: Key, value: Value) -> Arc<Object> {
        let kind = if self.get(&key).is_some() { ChangeKind::Modified } else { ChangeKind::Added };
        self.batch.push(key, kind, value)
    }

    /// Removes an object; `last` is its final version, as watches will see it.
    pub fn delete(&mut self, key: Key, last: Value) -> Arc<Object> {
        self.batch.push(key, ChangeKind::Deleted, last)
    }

    /// Undoes what a write did outside of the store, should it not be stored after all. To be called by a write that
    /// cannot fail any more.
    pub fn on_lost(&mut self, undo: impl FnOnce() + Send + 'static) {
        self.batch.on_lost.push(Box::new(undo));
    }
}

fn key_of(resource: &GroupResource, object: &Object) -> Key {
    let text = |field: &str| object.value["metadata"][field].as_str().unwrap_or_default().to_owned();
    Key { resource: resource.clone(), namespace: text("namespace"), name: text("name") }
}

impl Batch {
    fn push(&mut self, key: Key, kind: ChangeKind, mut value: Value) -> Arc<Object> {
        self.revision += 1;
        value["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let json = Bytes::from(value.to_string());
        let object = Arc::new(Object { revision: self.revision, value, json });
        let now = (kind != ChangeKind::Deleted).then(|| object.clone());
        self.undo.push(self.overlay.insert(key.clone(), now));
        self.changes.push(Change { key, kind, object: object.clone() });
        object
    }

    fn roll_back(&mut self, start: usize) {
        while self.changes.len() > start {
            let (Some(change), Some(before)) = (self.changes.pop(), self.undo.pop()) else { return };
            self.revision = change.object.revision - 1;
            match before {
                Some(before) => self.overlay.insert(change.key, before),
                None => self.overlay.remove(&change.key),
            };
        }
    }
}
