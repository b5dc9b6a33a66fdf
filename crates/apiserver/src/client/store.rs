//! A shared cache of a kind, kept current by one watch.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::{Client, Event, Gvr, ListOptions, object};

/// Namespace and name of an object; the namespace of a cluster-wide one is empty. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Namespace, or empty.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

impl ObjectKey {
    /// A key from its parts.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: Arc::from(namespace), name: Arc::from(name) }
    }
}

impl std::fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() { f.write_str(&self.name) } else { write!(f, "{}/{}", self.namespace, self.name) }
    }
}

/// One object before and after; at least one of the two is there.
#[derive(Debug)]
pub struct Change<T> {
    /// Which object.
    pub key: ObjectKey,
    /// What the cache held; none for a new object.
    pub old: Option<Arc<T>>,
    /// What it holds now; none for a deleted object.
    pub new: Option<Arc<T>>,
}

impl<T> Change<T> {
    /// The object now, or its last state.
    pub fn latest(&self) -> Option<&Arc<T>> {
        self.new.as_ref().or(self.old.as_ref())
    }
}

type Handler<T> = Box<dyn Fn(&Change<T>) + Send + Sync>;

/// All objects of a kind (or a selection of them), typed as the caller likes, indexed by namespace and owner.
///
/// Clones share the cache and its one watch, which ends with the last clone.
pub struct Store<T> {
    inner: Arc<Inner<T>>,
}

struct Inner<T> {
    cache: Arc<Cache<T>>,
    _reflector: AbortOnDropHandle<()>,
}

impl<T> Clone for Store<T> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<T: DeserializeOwned + Send + Sync + 'static> Store<T> {
    /// Begins to fill a cache; must be called on a tokio runtime.
    pub fn start(client: &Client, gvr: &Gvr, namespace: &str, options: ListOptions) -> Self {
        let cache = Arc::new(Cache::new());
        let mut watch = client.watch(gvr, namespace, options);
        let follower = Arc::clone(&cache);
        let reflector = tokio::spawn(async move {
            loop {
                follower.follow(watch.next().await);
            }
        });
        Self { inner: Arc::new(Inner { cache, _reflector: AbortOnDropHandle::new(reflector) }) }
    }

    /// Waits until the cache has been filled once.
    pub async fn synced(&self) {
        let mut progress = self.inner.cache.progress.subscribe();
        // The sender lives in this very cache, so that waiting cannot fail.
        let _ = progress.wait_for(|progress| progress.synced).await;
    }

    /// The object of this key.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<T>> {
        self.lookup(&ObjectKey::new(namespace, name))
    }

    /// The object of this key.
    pub fn lookup(&self, key: &ObjectKey) -> Option<Arc<T>> {
        self.inner.cache.read().objects.get(key).map(|entry| Arc::clone(&entry.object))
    }

    /// All objects, ordered by namespace and name.
    pub fn list(&self) -> Vec<Arc<T>> {
        self.inner.cache.read().objects.values().map(|entry| Arc::clone(&entry.object)).collect()
    }

    /// The objects of one namespace, ordered by name.
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<T>> {
        let first = ObjectKey::new(namespace, "");
        let state = self.inner.cache.read();
        let from_first = state.objects.range((Bound::Included(first), Bound::Unbounded));
        from_first
            .take_while(|(key, _)| &*key.namespace == namespace)
            .map(|(_, entry)| Arc::clone(&entry.object))
            .collect()
    }

    /// The objects with this owner, ordered by namespace and name.
    pub fn owned_by(&self, uid: &str) -> Vec<Arc<T>> {
        let state = self.inner.cache.read();
        let keys = state.by_owner.get(uid).into_iter().flatten();
        keys.filter_map(|key| state.objects.get(key)).map(|entry| Arc::clone(&entry.object)).collect()
    }

    /// Calls `handler` for every object there is now and for every later change, in order.
    ///
    /// It runs on the task that keeps the cache current: it may read any cache, must not block, and must not subscribe.
    pub fn subscribe(&self, handler: impl Fn(&Change<T>) + Send + Sync + 'static) {
        let cache = &self.inner.cache;
        let mut handlers = cache.lock_handlers();
        let present: Vec<_> =
            cache.read().objects.iter().map(|(key, e)| (key.clone(), Arc::clone(&e.object))).collect();
        for (key, object) in present {
            handler(&Change { key, old: None, new: Some(object) });
        }
        handlers.push(Box::new(handler));
    }

    /// A counter that moves with every change, for waiting on a condition.
    pub fn changes(&self) -> Changes {
        Changes { progress: self.inner.cache.progress.subscribe() }
    }

    /// Takes in what a write returned, so that the writer sees its own write before the watch delivers it.
    pub fn observe(&self, written: Value) {
        self.inner.cache.observe(written);
    }

    /// Takes in that a deletion removed the object of this identity at once.
    pub fn observe_deleted(&self, key: &ObjectKey, uid: &str) {
        self.inner.cache.observe_deleted(key, uid);
    }
}

/// Waits for changes of a [`Store`].
#[derive(Debug)]
pub struct Changes {
    progress: watch::Receiver<Progress>,
}

impl Changes {
    /// Waits for a change since the last call; `false` if the store is gone.
    pub async fn next(&mut self) -> bool {
        self.progress.changed().await.is_ok()
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    synced: bool,
    changes: u64,
}

struct Cache<T> {
    state: RwLock<State<T>>,
    /// Also the lock that makes a change and its notification one step.
    handlers: Mutex<Vec<Handler<T>>>,
    progress: watch::Sender<Progress>,
}

struct State<T> {
    objects: BTreeMap<ObjectKey, Entry<T>>,
    by_owner: HashMap<String, BTreeSet<ObjectKey>>,
    /// The watch has delivered everything up to this revision.
    revision: u64,
}

struct Entry<T> {
    object: Arc<T>,
    uid: String,
    revision: u64,
    owners: Vec<String>,
}

impl<T: DeserializeOwned> Cache<T> {
    fn new() -> Self {
        let state = State { objects: BTreeMap::new(), by_owner: HashMap::new(), revision: 0 };
        Self { state: RwLock::new(state), handlers: Mutex::default(), progress: watch::Sender::default() }
    }

    fn follow(&self, event: Event) {
        let handlers = self.lock_handlers();
        let changes = self.write().follow(event);
        self.notify(&handlers, &changes);
        self.progress.send_modify(|progress| progress.synced = true);
    }

    fn observe(&self, written: Value) {
        let handlers = self.lock_handlers();
        let change = self.write().observe(written);
        self.notify(&handlers, change.as_slice());
    }

    fn observe_deleted(&self, key: &ObjectKey, uid: &str) {
        let handlers = self.lock_handlers();
        let change = self.write().observe_deleted(key, uid);
        self.notify(&handlers, change.as_slice());
    }

    fn notify(&self, handlers: &[Handler<T>], changes: &[Change<T>]) {
        for change in changes {
            handlers.iter().for_each(|handler| handler(change));
        }
        if !changes.is_empty() {
            self.progress.send_modify(|progress| progress.changes += 1);
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, State<T>> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State<T>> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_handlers(&self) -> MutexGuard<'_, Vec<Handler<T>>> {
        self.handlers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: DeserializeOwned> State<T> {
    fn follow(&mut self, event: Event) -> Vec<Change<T>> {
        match event {
            Event::Restarted(objects) => self.restart(objects),
            Event::Applied(object) => {
                self.revision = self.revision.max(revision(&object));
                self.insert(object).into_iter().collect()
            }
            Event::Deleted(object) => {
                self.revision = self.revision.max(revision(&object));
                self.remove(&object::key(&object)).into_iter().collect()
            }
        }
    }

    /// The list is the truth, except for what was written after it was made.
    fn restart(&mut self, objects: Vec<Value>) -> Vec<Change<T>> {
        let listed: BTreeSet<ObjectKey> = objects.iter().map(object::key).collect();
        let known = self.objects.iter().filter(|(_, entry)| entry.revision <= self.revision);
        let gone: Vec<_> = known.map(|(key, _)| key.clone()).filter(|key| !listed.contains(key)).collect();
        let mut changes: Vec<_> = gone.iter().filter_map(|key| self.remove(key)).collect();
        for object in objects {
            self.revision = self.revision.max(revision(&object));
            changes.extend(self.insert(object));
        }
        changes
    }

    fn observe(&mut self, written: Value) -> Option<Change<T>> {
        // What the watch has passed already is in the cache, or deleted again.
        if revision(&written) <= self.revision { None } else { self.insert(written) }
    }

    fn observe_deleted(&mut self, key: &ObjectKey, uid: &str) -> Option<Change<T>> {
        self.objects.get(key).is_some_and(|entry| entry.uid == uid).then(|| self.remove(key)).flatten()
    }

    /// Takes the object in unless the cache holds it as new or newer.
    fn insert(&mut self, value: Value) -> Option<Change<T>> {
        let (key, revision, uid) = (object::key(&value), revision(&value), object::uid(&value).to_owned());
        if self.objects.get(&key).is_some_and(|known| known.uid == uid && known.revision >= revision) {
            return None;
        }
        let owners: Vec<String> = object::owner_uids(&value).map(str::to_owned).collect();
        let object = match serde_json::from_value::<T>(value) {
            Ok(object) => Arc::new(object),
            Err(error) => {
                tracing::warn!(object = %key, %error, "object ignored: not what its kind promises");
                return None;
            }
        };
        let old = self.remove(&key).and_then(|change| change.old);
        for owner in &owners {
            self.by_owner.entry(owner.clone()).or_default().insert(key.clone());
        }
        self.objects.insert(key.clone(), Entry { object: Arc::clone(&object), uid, revision, owners });
        Some(Change { key, old, new: Some(object) })
    }

    fn remove(&mut self, key: &ObjectKey) -> Option<Change<T>> {
        let entry = self.objects.remove(key)?;
        for owner in entry.owners {
            if let Some(owned) = self.by_owner.get_mut(&owner) {
                owned.remove(key);
                if owned.is_empty() {
                    self.by_owner.remove(&owner);
                }
            }
        }
        Some(Change { key: key.clone(), old: Some(entry.object), new: None })
    }
}

/// The revision in an object's metadata; 0 if it has none.
fn revision(object: &Value) -> u64 {
    object::resource_version(object).parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(name: &str, revision: u64, owner: Option<&str>) -> Value {
        let owners: Vec<Value> = owner.iter().map(|uid| json!({"uid": uid})).collect();
        json!({"metadata": {
            "namespace": "shop", "name": name, "uid": format!("{name}-uid"),
            "resourceVersion": revision.to_string(), "ownerReferences": owners,
        }})
    }

    fn state() -> State<Value> {
        State { objects: BTreeMap::new(), by_owner: HashMap::new(), revision: 0 }
    }

    fn names(state: &State<Value>) -> Vec<String> {
        state.objects.keys().map(ToString::to_string).collect()
    }

    #[test]
    fn a_restart_removes_what_the_list_lacks_and_reports_only_changes() {
        let mut state = state();
        state.follow(Event::Restarted(vec![object("a", 1, None), object("b", 2, None)]));
        let changes = state.follow(Event::Restarted(vec![object("b", 2, None), object("c", 4, None)]));
        let seen: Vec<_> = changes.iter().map(|c| (c.key.to_string(), c.old.is_some(), c.new.is_some())).collect();
        assert_eq!(seen, [("shop/a".to_owned(), true, false), ("shop/c".to_owned(), false, true)]);
        assert_eq!(names(&state), ["shop/b", "shop/c"]);
    }

    #[test]
    fn own_write_survives_a_list_made_before_it() {
        let mut state = state();
        state.follow(Event::Restarted(vec![object("a", 1, None)]));
        assert!(state.observe(object("mine", 9, None)).is_some());
        state.follow(Event::Restarted(vec![object("a", 1, None)]));
        assert_eq!(names(&state), ["shop/a", "shop/mine"]);
    }

    #[test]
    fn own_write_does_not_revive_an_object_the_watch_saw_deleted() {
        let mut state = state();
        state.follow(Event::Applied(object("a", 3, None)));
        state.follow(Event::Deleted(object("a", 4, None)));
        assert!(state.observe(object("a", 3, None)).is_none());
        assert_eq!(names(&state), Vec::<String>::new());
    }

    #[test]
    fn an_older_event_does_not_undo_a_newer_write() {
        let mut state = state();
        state.follow(Event::Applied(object("a", 3, None)));
        state.observe(object("a", 5, Some("new-owner")));
        assert!(state.follow(Event::Applied(object("a", 4, None))).is_empty());
        assert_eq!(state.by_owner.keys().collect::<Vec<_>>(), ["new-owner"]);
    }

    #[test]
    fn the_owner_index_follows_the_object() {
        let mut state = state();
        state.follow(Event::Applied(object("a", 1, Some("one"))));
        state.follow(Event::Applied(object("a", 2, Some("two"))));
        assert_eq!(state.by_owner.keys().collect::<Vec<_>>(), ["two"]);
        state.follow(Event::Deleted(object("a", 3, Some("two"))));
        assert!(state.by_owner.is_empty());
    }

    #[test]
    fn deletion_of_a_predecessor_leaves_its_namesake() {
        let mut state = state();
        state.follow(Event::Applied(object("a", 1, None)));
        assert!(state.observe_deleted(&ObjectKey::new("shop", "a"), "another").is_none());
        assert!(state.observe_deleted(&ObjectKey::new("shop", "a"), "a-uid").is_some());
    }
}
