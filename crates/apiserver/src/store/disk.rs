//! The revision log on disk: one redb table of revisions, as etcd keeps it, from which the state is rebuilt at start.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use redb::backends::FileBackend;
use redb::{BackendError, Builder, Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition};

use super::state::{Change, ChangeKind, Garbage, Key, LogLimits, Object, State};
use crate::error::GroupResource;

/// revision -> (resource, namespace, name, kind of change, object as JSON).
const REVISIONS: TableDefinition<'_, u64, Record<'static>> = TableDefinition::new("revisions");
/// resource -> the revision up to which its log has been trimmed.
const FLOORS: TableDefinition<'_, &str, u64> = TableDefinition::new("floors");

/// Memory for pages: reads are answered from elsewhere.
const CACHE_BYTES: usize = 8 << 20;

type Record<'a> = (&'a str, &'a str, &'a str, u8, &'a [u8]);

/// What an acknowledged write survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// The end of the machine: every commit waits for the disk.
    #[default]
    Machine,
    /// The end of the process, however sudden. A power cut may lose the whole database;
    /// right where the cluster would not survive that either.
    Process,
}

/// Why the database cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file could not be opened.
    #[error("cannot open the database file {path:?}")]
    OpenFile {
        /// The database.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not a database, or is damaged, or in use by another process.
    #[error("cannot open the database {path:?}: is another API server using it?")]
    Open {
        /// The database.
        path: PathBuf,
        /// What the database said.
        source: Box<redb::DatabaseError>,
    },
    /// Stored revisions could not be read.
    #[error("cannot read the database")]
    Read(#[source] Box<redb::Error>),
    /// A record is not what this version writes.
    #[error("the database holds an unreadable record at revision {revision}")]
    Record {
        /// The record's revision.
        revision: u64,
        /// Why it cannot be read.
        source: serde_json::Error,
    },
    /// A commit failed; nothing of it is stored.
    #[error("cannot write the database: {0}")]
    Commit(#[source] Box<redb::Error>),
    /// The writer cannot be started.
    #[error("cannot start the writer of the database")]
    Thread(#[source] io::Error),
    /// The writer has stopped.
    #[error("the store is closed")]
    Closed,
}

/// The database; closed after an error and opened again by the next commit, so that a disk that was full is no more
/// than a pause.
pub(super) struct Disk {
    open: Opener,
    database: Option<Database>,
}

/// Opens the database.
pub(super) type Opener = Box<dyn Fn() -> Result<Database, StoreError> + Send>;

impl Disk {
    pub fn new(open: Opener) -> Self {
        Self { open, database: None }
    }

    /// The database in a file, made if it is not there.
    pub fn in_file(path: &Path, durability: Durability) -> Self {
        let path = path.to_owned();
        Self::new(Box::new(move || open_file(&path, durability)))
    }

    /// Replays every stored revision.
    pub fn load(&mut self, limits: LogLimits) -> Result<(State, Garbage), StoreError> {
        let database = self.database()?;
        create_tables(database).map_err(|error| StoreError::Commit(Box::new(error)))?;
        let (mut state, mut garbage) = (State::new(limits), Garbage::default());
        let read = |error: redb::Error| StoreError::Read(Box::new(error));
        for (resource, floor) in read_floors(database).map_err(read)? {
            state.set_floor(&resource, floor);
        }
        let transaction = database.begin_read().map_err(|error| read(error.into()))?;
        let revisions = transaction.open_table(REVISIONS).map_err(|error| read(error.into()))?;
        for row in revisions.iter().map_err(|error| read(error.into()))? {
            let (revision, record) = row.map_err(|error| read(error.into()))?;
            state.apply(parse_record(revision.value(), record.value())?, &mut garbage);
        }
        Ok((state, garbage))
    }

    /// Stores changes that follow `revision` and forgets garbage, in one transaction.
    pub fn commit(&mut self, revision: u64, changes: &[Change], garbage: &Garbage) -> Result<(), StoreError> {
        let result = try_commit(self.database()?, revision, changes, garbage);
        result.map_err(|error| {
            self.database = None;
            StoreError::Commit(Box::new(error))
        })
    }

    fn database(&mut self) -> Result<&Database, StoreError> {
        match &mut self.database {
            Some(database) => Ok(database),
            closed => Ok(closed.insert((self.open)()?)),
        }
    }
}

fn open_file(path: &Path, durability: Durability) -> Result<Database, StoreError> {
    let open_file = |source| StoreError::OpenFile { path: path.into(), source };
    let mut options = File::options();
    let file = options.read(true).write(true).create(true).truncate(false).open(path).map_err(open_file)?;
    let open = |source| StoreError::Open { path: path.into(), source: Box::new(source) };
    let file = FileBackend::new(file).map_err(open)?;
    open_backend(Backend { file, durability }).map_err(open)
}

pub(super) fn open_backend(backend: impl StorageBackend) -> Result<Database, redb::DatabaseError> {
    Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(backend)
}

fn create_tables(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(REVISIONS)?;
    transaction.open_table(FLOORS)?;
    transaction.commit()?;
    Ok(())
}

fn read_floors(database: &Database) -> Result<Vec<(GroupResource, u64)>, redb::Error> {
    let table = database.begin_read()?.open_table(FLOORS)?;
    let mut floors = Vec::new();
    for row in table.iter()? {
        let (resource, floor) = row?;
        floors.push((parse_resource(resource.value()), floor.value()));
    }
    Ok(floors)
}

fn try_commit(database: &Database, revision: u64, changes: &[Change], garbage: &Garbage) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut revisions = transaction.open_table(REVISIONS)?;
        // What an earlier commit left that failed halfway, and whose authors were told so.
        revisions.retain_in(revision + 1.., |_, _| false)?;
        for Change { key, kind, object } in changes {
            let resource = format_resource(&key.resource);
            let record: Record<'_> = (&resource, &key.namespace, &key.name, kind_code(*kind), &object.json);
            revisions.insert(object.revision, record)?;
        }
        for revision in &garbage.revisions {
            revisions.remove(revision)?;
        }
        let mut floors = transaction.open_table(FLOORS)?;
        for (resource, floor) in &garbage.floors {
            floors.insert(format_resource(resource).as_str(), floor)?;
        }
    }
    transaction.commit()?;
    Ok(())
}

/// A file whose `sync_data` may be left to the kernel.
#[derive(Debug)]
struct Backend {
    file: FileBackend,
    durability: Durability,
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        match self.durability {
            Durability::Machine => self.file.sync_data(),
            Durability::Process => Ok(()),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}

fn format_resource(resource: &GroupResource) -> String {
    format!("{}/{}", resource.group, resource.resource)
}

fn parse_resource(text: &str) -> GroupResource {
    let (group, resource) = text.split_once('/').unwrap_or(("", text));
    GroupResource { group: Cow::Owned(group.to_owned()), resource: Cow::Owned(resource.to_owned()) }
}

fn parse_record(revision: u64, (resource, namespace, name, kind, json): Record<'_>) -> Result<Change, StoreError> {
    let value = serde_json::from_slice(json).map_err(|source| StoreError::Record { revision, source })?;
    let key = Key { resource: parse_resource(resource), namespace: namespace.into(), name: name.into() };
    let object = Object { revision, value, json: Bytes::copy_from_slice(json) };
    Ok(Change { key, kind: kind_of_code(kind), object: object.into() })
}

fn kind_code(kind: ChangeKind) -> u8 {
    match kind {
        ChangeKind::Added => 0,
        ChangeKind::Modified => 1,
        ChangeKind::Deleted => 2,
    }
}

fn kind_of_code(code: u8) -> ChangeKind {
    match code {
        0 => ChangeKind::Added,
        1 => ChangeKind::Modified,
        _ => ChangeKind::Deleted,
    }
}
