use std::io::{self, BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redb::StorageBackend;
use redb::backends::InMemoryBackend;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::disk::open_backend;
use super::*;

const PODS: GroupResource = GroupResource::of("", "pods");
const LIMITS: LogLimits = LogLimits { events: 100, bytes: 1 << 20 };
const CHILD_DATABASE: &str = "APISERVER_TEST_STORE";

fn open(directory: &TempDir) -> Store {
    Store::open(&directory.path().join("db"), Durability::Process, LIMITS).unwrap()
}

fn key(name: &str) -> Key {
    Key { resource: PODS, namespace: "default".into(), name: name.into() }
}

fn pod(name: &str, note: u64) -> Value {
    json!({ "metadata": { "namespace": "default", "name": name }, "note": note })
}

async fn put(store: &Store, name: &'static str, note: u64) -> u64 {
    let write = move |tx: &mut Transaction<'_>| Ok(tx.put(key(name), pod(name, note)).revision);
    store.write(WriteMode::Persist, write).await.unwrap()
}

async fn delete(store: &Store, name: &'static str) -> u64 {
    let write = move |tx: &mut Transaction<'_>| Ok(tx.delete(key(name), pod(name, 0)).revision);
    store.write(WriteMode::Persist, write).await.unwrap()
}

fn names(snapshot: &Snapshot) -> Vec<&str> {
    snapshot.objects.iter().map(|object| object.value["metadata"]["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_write_is_visible_with_its_revision_once_acknowledged() {
    let directory = TempDir::new().unwrap();
    let store = open(&directory);
    let revision = put(&store, "a", 7).await;
    let object = store.get(&key("a")).unwrap();
    assert_eq!((object.revision, store.revision()), (revision, revision));
    assert_eq!(object.value["metadata"]["resourceVersion"], json!(revision.to_string()));
    assert_eq!(serde_json::from_slice::<Value>(&object.json).unwrap(), object.value);
}

#[tokio::test]
async fn a_refused_or_dry_write_leaves_nothing_not_even_a_revision() {
    let directory = TempDir::new().unwrap();
    let store = open(&directory);
    let before = put(&store, "a", 1).await;
    let refused = |tx: &mut Transaction<'_>| {
        tx.put(key("a"), pod("a", 2));
        tx.put(key("b"), pod("b", 2));
        tx.delete(key("a"), pod("a", 3));
        Err::<(), _>(ApiError::bad_request("no"))
    };
    assert_eq!(store.write(WriteMode::Persist, refused).await, Err(ApiError::bad_request("no")));
    let dry = |tx: &mut Transaction<'_>| Ok(tx.put(key("b"), pod("b", 1)).value["note"].clone());
    assert_eq!(store.write(WriteMode::DryRun, dry).await, Ok(json!(1)));
    assert_eq!((store.revision(), names(&store.list(&PODS, None))), (before, vec!["a"]));
    assert_eq!(put(&store, "b", 1).await, before + 1);
}

#[tokio::test]
async fn a_write_that_panics_harms_no_other() {
    let directory = TempDir::new().unwrap();
    let store = open(&directory);
    let broken = |tx: &mut Transaction<'_>| {
        tx.put(key("a"), pod("a", 1));
        panic!("a bug in a validator");
        #[expect(unreachable_code, reason = "gives the closure its type")]
        Ok(())
    };
    assert!(matches!(store.write(WriteMode::Persist, broken).await, Err(ApiError::Internal { .. })));
    assert!(store.get(&key("a")).is_none());
    put(&store, "b", 1).await;
}

#[tokio::test]
async fn concurrent_writes_are_one_sequence_and_see_each_other() {
    let directory = TempDir::new().unwrap();
    let store = open(&directory);
    let count = |tx: &mut Transaction<'_>| {
        let seen = tx.get(&key("a")).map_or(0, |object| object.value["note"].as_u64().unwrap());
        tx.put(key("a"), pod("a", seen + 1));
        Ok(())
    };
    let writes = (0..500).map(|_| store.write(WriteMode::Persist, count));
    futures::future::join_all(writes).await.into_iter().collect::<Result<Vec<_>, _>>().unwrap();
    assert_eq!(store.get(&key("a")).unwrap().value["note"], json!(500));
    assert_eq!(store.revision(), 500);
}

#[tokio::test]
async fn a_reopened_store_has_the_objects_the_log_and_the_revision() {
    let directory = TempDir::new().unwrap();
    let store = open(&directory);
    for (name, note) in [("a", 1), ("b", 2), ("a", 3)] {
        put(&store, name, note).await;
    }
    let last = delete(&store, "b").await;
    drop(store);
    let store = open(&directory);
    assert_eq!((store.revision(), names(&store.list(&PODS, Some("default")))), (last, vec!["a"]));
    let events = store.watch(&PODS, 1).unwrap().next().await.unwrap();
    let kinds: Vec<_> = events.iter().map(|event| (event.change.kind, event.previous.is_some())).collect();
    assert_eq!(kinds, [(ChangeKind::Added, false), (ChangeKind::Modified, true), (ChangeKind::Deleted, true)]);
    assert_eq!(put(&store, "c", 1).await, last + 1);
}

#[tokio::test]
async fn a_reopened_store_refuses_revisions_it_had_compacted() {
    let directory = TempDir::new().unwrap();
    let store = open(&directory);
    put(&store, "old", 0).await;
    for note in 0..300 {
        put(&store, "a", note).await;
    }
    let early = store.watch(&PODS, 5).unwrap_err();
    drop(store);
    let store = open(&directory);
    assert_eq!(store.watch(&PODS, 5).unwrap_err(), early);
    assert_eq!(names(&store.list(&PODS, None)), ["a", "old"]);
    let events = store.watch(&PODS, store.revision() - 10).unwrap().next().await.unwrap();
    assert_eq!(events.len(), 10);
}

#[tokio::test]
async fn a_watch_wakes_for_its_resource_and_moves_past_others() {
    let directory = TempDir::new().unwrap();
    let store = open(&directory);
    let mut cursor = store.watch(&PODS, 0).unwrap();
    assert!(cursor.try_next().unwrap().is_none());
    let other = Key { resource: GroupResource::of("", "secrets"), namespace: "default".into(), name: "s".into() };
    let write = move |tx: &mut Transaction<'_>| Ok(tx.put(other, pod("s", 1)).revision);
    let elsewhere = store.write(WriteMode::Persist, write).await.unwrap();
    assert!(cursor.try_next().unwrap().is_none());
    assert_eq!(cursor.position(), elsewhere);
    let (events, revision) =
        tokio::join!(tokio::time::timeout(Duration::from_secs(10), cursor.next()), put(&store, "a", 1));
    assert_eq!(events.unwrap().unwrap()[0].change.object.revision, revision);
}

#[tokio::test]
async fn a_watch_that_falls_behind_the_log_is_told() {
    let directory = TempDir::new().unwrap();
    let store = open(&directory);
    let mut cursor = store.watch(&PODS, 0).unwrap();
    for note in 0..300 {
        put(&store, "a", note).await;
    }
    assert!(cursor.next().await.is_err());
}

/// A disk in memory that can be full.
#[derive(Debug, Clone)]
struct Fillable {
    kept: Arc<InMemoryBackend>,
    full: Arc<AtomicBool>,
}

impl StorageBackend for Fillable {
    fn len(&self) -> io::Result<u64> {
        self.kept.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.kept.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.kept.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.kept.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if self.full.load(Ordering::SeqCst) {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            self.kept.write(offset, data)
        }
    }
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_is_forgotten_once_there_is_room() {
    let disk = Fillable { kept: Arc::default(), full: Arc::default() };
    let open = {
        let disk = disk.clone();
        move || {
            let failed = |source| StoreError::Open { path: "memory".into(), source: Box::new(source) };
            open_backend(disk.clone()).map_err(failed)
        }
    };
    let store = Store::start(Disk::new(Box::new(open.clone())), LIMITS).unwrap();
    put(&store, "a", 1).await;
    disk.full.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        let lost = Arc::new(AtomicBool::new(false));
        let told = lost.clone();
        let write = move |tx: &mut Transaction<'_>| {
            tx.on_lost(move || told.store(true, Ordering::SeqCst));
            Ok(tx.put(key("b"), pod("b", 1)).revision)
        };
        assert!(matches!(store.write(WriteMode::Persist, write).await, Err(ApiError::Internal { .. })));
        assert!(lost.load(Ordering::SeqCst));
    }
    assert_eq!(names(&store.list(&PODS, None)), ["a"]);
    disk.full.store(false, Ordering::SeqCst);
    let revision = put(&store, "c", 1).await;
    drop(store);
    let store = Store::start(Disk::new(Box::new(open)), LIMITS).unwrap();
    assert_eq!((names(&store.list(&PODS, None)), store.revision()), (vec!["a", "c"], revision));
}

#[test]
fn a_database_in_use_is_refused() {
    let directory = TempDir::new().unwrap();
    let _first = open(&directory);
    let second = Store::open(&directory.path().join("db"), Durability::Process, LIMITS);
    assert!(matches!(second, Err(StoreError::Open { .. })));
}

/// Runs this very test in a child process that writes until it is killed, and reads what the child had acknowledged.
#[test]
fn acknowledged_writes_survive_kill_9() {
    if let Some(path) = std::env::var_os(CHILD_DATABASE) {
        write_until_killed(Path::new(&path));
    }
    for durability_run in 0..3 {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("db");
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::tests::acknowledged_writes_survive_kill_9", "--nocapture", "--test-threads=1"])
            .env(CHILD_DATABASE, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut acknowledged = Vec::new();
        while acknowledged.len() < 100 + 77 * durability_run {
            let line = lines.next().expect("the child writes until it is killed");
            acknowledged.extend(line.strip_prefix("stored ").map(str::to_owned));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged.extend(lines.filter_map(|line| line.strip_prefix("stored ").map(str::to_owned)));
        let store = Store::open(&path, Durability::Process, LIMITS).unwrap();
        for name in &acknowledged {
            assert!(store.get(&key(name)).is_some(), "{name} was acknowledged and is gone");
        }
        assert!(store.revision() >= acknowledged.len() as u64);
    }
}

fn write_until_killed(path: &Path) -> ! {
    let store = Store::open(path, Durability::Process, LIMITS).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        for number in 0.. {
            let writes = (0..4).map(|part| {
                let name = format!("pod-{number}-{part}");
                let done = name.clone();
                let write = store.write(WriteMode::Persist, move |tx| {
                    let value = pod(&name, 1);
                    tx.put(key(&name), value);
                    Ok(())
                });
                async move { write.await.map(|()| writeln!(io::stdout(), "stored {done}").unwrap()) }
            });
            futures::future::join_all(writes).await;
        }
    });
    unreachable!("the numbers do not end")
}
