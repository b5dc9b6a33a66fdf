//! Garbage collection: objects whose owners are gone go too, at the time and in the way the deletion asked for.

mod custom;
mod graph;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use apiserver::{
    client::{CUSTOM_RESOURCE_DEFINITIONS, Client, ClientError, DeleteOptions, Gvr, ListOptions, Propagation, Store},
    kinds::RESOURCES,
};
use k8s_openapi::{
    Metadata,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use self::custom::CustomKinds;
use self::graph::{Graph, ORPHAN, Verdict, Vertex};
use super::{
    queue::WorkQueue,
    stores::Stores,
    worker::{Next, Reconcile},
    write::{Part, Write, Writer, together},
};

/// Kinds that own nothing, are owned by nothing, and are many; a second name of one of them; and what is followed apart.
const LEFT_OUT: &[(&str, &str)] =
    &[("", "events"), ("events.k8s.io", "events"), ("apiextensions.k8s.io", "customresourcedefinitions")];

/// Deletes what nobody owns any more.
pub(super) struct GarbageCollector {
    writer: Writer,
    graph: Arc<Mutex<Graph>>,
    /// Caches of the kinds no other controller reads.
    _others: Vec<Store<Bare>>,
    custom: Arc<CustomKinds>,
    _custom_keeper: AbortOnDropHandle<()>,
}

/// An object of which only the metadata are kept.
#[derive(Deserialize)]
struct Bare {
    metadata: ObjectMeta,
}

impl GarbageCollector {
    /// A collector that follows all kinds; it must not run before every cache has been filled.
    pub(super) async fn new(client: &Client, stores: &Stores, writer: Writer, queue: &Arc<WorkQueue<String>>) -> Self {
        let graph = Arc::<Mutex<Graph>>::default();
        let feed = Feed { graph: Arc::clone(&graph), queue: Arc::clone(queue) };
        let watched = stores.feed(&feed);
        let mut others = Vec::new();
        for resource in RESOURCES {
            let gvr = Gvr::from(resource);
            if resource.allows("watch") && !watched.contains(&gvr) && !LEFT_OUT.contains(&(gvr.group, gvr.plural)) {
                others.push(follow_all(client, &feed, gvr));
            }
        }
        let definitions = follow_all(client, &feed, CUSTOM_RESOURCE_DEFINITIONS);
        for store in others.iter().chain([&definitions]) {
            store.synced().await;
        }
        let custom = Arc::new(CustomKinds::start(client, feed, definitions).await);
        let keeper = Arc::clone(&custom);
        let keeper = AbortOnDropHandle::new(tokio::spawn(async move { keeper.keep().await }));
        Self { writer, graph, _others: others, custom, _custom_keeper: keeper }
    }

    /// Which of an object's owners are truly not there, after asking the server.
    async fn gone_owners(&self, uid: &str) -> Result<HashSet<String>, ClientError> {
        let namespace = self.lock().get(uid).map(|vertex| Arc::clone(&vertex.key.namespace)).unwrap_or_default();
        let unknown = self.lock().unknown_owners(uid);
        let mut gone = HashSet::new();
        for owner in unknown {
            if self.is_gone(&owner, &namespace).await? {
                gone.insert(owner.uid);
            }
        }
        Ok(gone)
    }

    async fn is_gone(&self, owner: &OwnerReference, namespace: &str) -> Result<bool, ClientError> {
        let built_in = RESOURCES.iter().find(|kind| kind.kind == owner.kind && kind.api_version() == owner.api_version);
        // Of a kind that is not served nothing can be said.
        let Some(gvr) = built_in.map(Gvr::from).or_else(|| self.custom.find(owner)) else { return Ok(false) };
        match self.writer.client().get(&gvr, namespace, &owner.name).await {
            Ok(present) => Ok(present["metadata"]["uid"].as_str() != Some(&owner.uid)),
            Err(error) if error.is_not_found() => Ok(true),
            Err(error) => Err(error),
        }
    }

    async fn carry_out(&self, uid: &str, vertex: &Vertex, verdict: Verdict) -> Result<(), ClientError> {
        match verdict {
            Verdict::Keep | Verdict::Await(_) => Ok(()),
            Verdict::Delete { foreground } => {
                let policy = if foreground { Propagation::Foreground } else { Propagation::Background };
                let options = DeleteOptions::propagation(policy).with_uid(uid);
                let (gvr, key, uid) = (vertex.gvr, vertex.key.clone(), uid.to_owned());
                self.writer.apply(Write::Delete { gvr, key, uid, options }).await.map(drop)
            }
            Verdict::DropOwners(owners) => self.drop_owners(vertex, &owners).await,
            Verdict::RemoveFinalizer(finalizer) => self.remove_finalizer(vertex, finalizer).await,
            Verdict::Orphan(dependents) => {
                let vertices: Vec<Vertex> = {
                    let graph = self.lock();
                    dependents.iter().filter_map(|dependent| graph.get(dependent)).cloned().collect()
                };
                let owner = [uid.to_owned()];
                together(vertices.iter().map(|dependent| self.drop_owners(dependent, &owner)).collect()).await?;
                self.remove_finalizer(vertex, ORPHAN).await
            }
        }
    }

    async fn drop_owners(&self, vertex: &Vertex, owners: &[String]) -> Result<(), ClientError> {
        let kept: Vec<_> = vertex.owners.iter().filter(|owner| !owners.contains(&owner.uid)).collect();
        self.patch_metadata(vertex, json!({"ownerReferences": kept})).await
    }

    async fn remove_finalizer(&self, vertex: &Vertex, finalizer: &str) -> Result<(), ClientError> {
        let kept: Vec<_> = vertex.finalizers.iter().filter(|own| *own != finalizer).collect();
        self.patch_metadata(vertex, json!({"finalizers": kept})).await
    }

    async fn patch_metadata(&self, vertex: &Vertex, mut metadata: Value) -> Result<(), ClientError> {
        metadata["resourceVersion"] = json!(vertex.resource_version);
        let patch = json!({"metadata": metadata});
        let write = Write::Patch { gvr: vertex.gvr, key: vertex.key.clone(), part: Part::Object, patch };
        match self.writer.apply(write).await {
            Err(error) if error.is_not_found() => Ok(()),
            result => result.map(drop),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Graph> {
        self.graph.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reconcile for GarbageCollector {
    type Key = String;
    const NAME: &'static str = "generic-garbage-collector";
    const WORKERS: usize = 8;

    async fn reconcile(&self, uid: &String) -> Result<Next, ClientError> {
        let gone = self.gone_owners(uid).await?;
        let (vertex, verdict) = {
            let graph = self.lock();
            let Some(vertex) = graph.get(uid).cloned() else { return Ok(Next::OnChange) };
            (vertex, graph.judge(uid, |owner| gone.contains(&owner.uid)))
        };
        self.carry_out(uid, &vertex, verdict).await?;
        Ok(Next::OnChange)
    }
}

/// Begins to follow all objects of a kind that no other controller reads.
fn follow_all(client: &Client, feed: &Feed, gvr: Gvr) -> Store<Bare> {
    let store: Store<Bare> = Store::start(client, &gvr, "", ListOptions::default());
    feed.follow(gvr, &store, |object| &object.metadata);
    store
}

/// Feeds caches into the graph and concerned objects into the queue.
pub(super) struct Feed {
    graph: Arc<Mutex<Graph>>,
    queue: Arc<WorkQueue<String>>,
}

impl Feed {
    /// Follows a cache of API objects.
    pub(super) fn follow_kind<T>(&self, gvr: Gvr, store: &Store<T>)
    where
        T: Metadata<Ty = ObjectMeta> + DeserializeOwned + Send + Sync + 'static,
    {
        self.follow(gvr, store, |object| object.metadata());
    }

    /// Takes the objects of a cache that is about to end out of the graph.
    fn forget(&self, store: &Store<Bare>) {
        let objects = store.list();
        let uids = objects.iter().filter_map(|object| object.metadata.uid.as_deref());
        let concerned: Vec<String> = uids.flat_map(|uid| self.lock().remove(uid)).collect();
        concerned.into_iter().for_each(|uid| self.queue.add(uid));
    }

    /// Puts what objects of a kind own into the queue.
    fn look_at_owned_by(&self, group: &str, kind: &str) {
        let concerned = self.lock().owned_by(group, kind);
        concerned.into_iter().for_each(|uid| self.queue.add(uid));
    }

    fn lock(&self) -> MutexGuard<'_, Graph> {
        self.graph.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn follow<T: DeserializeOwned + Send + Sync + 'static>(
        &self,
        gvr: Gvr,
        store: &Store<T>,
        metadata: fn(&T) -> &ObjectMeta,
    ) {
        let (graph, queue) = (Arc::clone(&self.graph), Arc::clone(&self.queue));
        store.subscribe(move |change| {
            let uid = |object: &T| metadata(object).uid.clone().unwrap_or_default();
            let (old, new) = (change.old.as_deref(), change.new.as_deref());
            let mut graph = graph.lock().unwrap_or_else(PoisonError::into_inner);
            let mut concerned = Vec::new();
            if let Some(old) = old.filter(|old| new.is_none_or(|new| uid(old) != uid(new))) {
                concerned.extend(graph.remove(&uid(old)));
            }
            if let Some(new) = new.filter(|new| old.is_none_or(|old| differ(metadata(old), metadata(new)))) {
                concerned.extend(graph.put(&uid(new), Vertex::new(gvr, metadata(new))));
            } else if let Some(new) = new {
                graph.refresh(&uid(new), metadata(new).resource_version.clone());
            }
            drop(graph);
            concerned.into_iter().for_each(|uid| queue.add(uid));
        });
    }
}

/// Whether a change matters to the collector.
fn differ(old: &ObjectMeta, new: &ObjectMeta) -> bool {
    old.uid != new.uid
        || old.owner_references != new.owner_references
        || old.finalizers != new.finalizers
        || old.deletion_timestamp.is_some() != new.deletion_timestamp.is_some()
}
