//! Where objects live: one global revision, an append-only revision log, a file that survives a crash.
//!
//! Reads are answered from memory. Writes are closures that run one after another on a thread of their own
//! ([`writer`]); each sees all writes before it, and is acknowledged once it is on disk.

mod cursor;
mod disk;
mod state;
mod writer;

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

pub(crate) use cursor::Cursor;
pub use disk::{Durability, StoreError};
pub(crate) use state::{ChangeKind, Compacted, Event, Key, LogLimits, Object, Snapshot};
pub(crate) use writer::{Transaction, WriteMode};

use crate::error::{ApiError, GroupResource};
use disk::Disk;
use state::State;

/// The objects of a cluster.
#[derive(Debug)]
pub(crate) struct Store {
    shared: Arc<Shared>,
    jobs: Option<mpsc::Sender<writer::Job>>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: RwLock<State>,
}

impl Shared {
    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Opens or creates the database and starts its writer.
    pub fn open(path: &Path, durability: Durability, limits: LogLimits) -> Result<Self, StoreError> {
        Self::start(Disk::in_file(path, durability), limits)
    }

    fn start(mut disk: Disk, limits: LogLimits) -> Result<Self, StoreError> {
        let (state, garbage) = disk.load(limits)?;
        let shared = Arc::new(Shared { state: RwLock::new(state) });
        let (jobs, queue) = mpsc::channel(writer::BATCH);
        let for_writer = shared.clone();
        let writer = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || writer::run(&for_writer, disk, queue, garbage))
            .map_err(StoreError::Thread)?;
        Ok(Self { shared, jobs: Some(jobs), writer: Some(writer) })
    }

    /// The newest revision.
    pub fn revision(&self) -> u64 {
        self.shared.state().revision
    }

    /// The revision of the newest change to a resource; 0 if nothing of it ever changed.
    pub fn newest_change(&self, resource: &GroupResource) -> u64 {
        self.shared.state().newest_change(resource)
    }

    pub fn get(&self, key: &Key) -> Option<Arc<Object>> {
        self.shared.state().get(key)
    }

    /// All objects of a resource, of one namespace or (with `None`) of all.
    pub fn list(&self, resource: &GroupResource, namespace: Option<&str>) -> Snapshot {
        self.shared.state().list(resource, namespace)
    }

    /// The objects as they were at `revision`, if the log still reaches back to it.
    pub fn list_at(
        &self,
        resource: &GroupResource,
        namespace: Option<&str>,
        revision: u64,
    ) -> Result<Snapshot, Compacted> {
        self.shared.state().list_at(resource, namespace, revision)
    }

    /// The changes to a resource after `revision`, now and from now on.
    pub fn watch(&self, resource: &GroupResource, revision: u64) -> Result<Cursor, Compacted> {
        let mut state = self.shared.state.write().unwrap_or_else(PoisonError::into_inner);
        state.changes(resource, revision, 0)?;
        let news = state.subscribe(resource);
        Ok(Cursor::new(self.shared.clone(), resource.clone(), revision, news))
    }

    /// Runs a write. When it returns `Ok`, what it wrote is on disk and visible to every reader;
    /// when it returns an error, nothing of it is. A write that was cancelled may have happened.
    pub async fn write<T, F>(&self, mode: WriteMode, write: F) -> Result<T, ApiError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Transaction<'_>) -> Result<T, ApiError> + Send + 'static,
    {
        let closed = || ApiError::internal(StoreError::Closed);
        let (reply, answer) = oneshot::channel();
        let jobs = self.jobs.as_ref().ok_or_else(closed)?;
        jobs.send(writer::job(mode, write, reply)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}

impl Drop for Store {
    /// Waits for the writes already accepted.
    fn drop(&mut self) {
        self.jobs.take();
        if let Some(writer) = self.writer.take() {
            // A panic of the writer has been reported by the panic hook.
            let _ = writer.join();
        }
    }
}

#[cfg(test)]
mod tests;
