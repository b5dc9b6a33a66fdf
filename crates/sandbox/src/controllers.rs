//! The control plane beside the API server: the scheduler, the workload controllers, endpoints, namespaces, garbage
//! collection and the life of nodes.
//!
//! Every controller is a pure function from what the shared caches hold to the writes that bring the cluster closer to
//! what is wanted, and a loop around it with a queue of keys. There is one watch per kind for all of them.

mod claim;
mod daemon_set;
mod deployment;
mod endpoints;
mod events;
mod history;
mod kind;
mod placement;
mod pod;
mod pod_control;
mod queue;
mod replica_set;
mod scheduler;
mod selector;
mod stores;
mod worker;
mod write;

use std::{path::PathBuf, sync::Arc};

use apiserver::client::{Change, Client, ObjectKey, Store};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::{
    daemon_set::DaemonSetController,
    deployment::DeploymentController,
    endpoints::{EndpointController, MirrorController, service_of_slice, services_of_pod},
    events::Recorder,
    kind::Kind,
    pod_control::PodControl,
    queue::WorkQueue,
    replica_set::ReplicaSetController,
    scheduler::Scheduler,
    stores::Stores,
    worker::{Controller, Reconcile},
    write::Writer,
};

/// What the controllers have to know about their cluster.
#[derive(Clone, Debug)]
pub struct Config {
    /// The API server's unix socket.
    pub socket: PathBuf,
}

/// Runs all controllers until cancelled. They wait for the API server as long as it takes, and outlive its restarts.
pub async fn run(config: Config, cancel: CancellationToken) {
    let client = Client::unix(&config.socket);
    let stores = Stores::start(&client);
    if cancel.run_until_cancelled(stores.synced()).await.is_none() {
        return;
    }
    let (recorder, event_writer) = events::recorder(&client);
    let mut tasks = JoinSet::new();
    tasks.spawn(event_writer.run());
    Fleet { client, stores, recorder, cancel, tasks: &mut tasks }.launch();
    while tasks.join_next().await.is_some() {}
}

/// What every controller is made of.
struct Fleet<'a> {
    client: Client,
    stores: Stores,
    recorder: Recorder,
    cancel: CancellationToken,
    tasks: &'a mut JoinSet<()>,
}

impl Fleet<'_> {
    fn launch(mut self) {
        self.launch_scheduler();
        self.launch_deployments();
        self.launch_replica_sets();
        self.launch_daemon_sets();
        self.launch_endpoints();
        self.launch_mirror();
    }

    fn launch_scheduler(&mut self) {
        let scheduler = Scheduler::new(&self.stores, self.writer(scheduler::NAME), self.recorder.of(scheduler::NAME));
        self.tasks.spawn(scheduler.run(self.cancel.clone()));
    }

    fn launch_deployments(&mut self) {
        let (stores, writer, recorder) = self.parts::<DeploymentController>();
        let queue = self.start(DeploymentController { stores, writer, recorder });
        on_change(&self.stores.deployments, &queue, |key, _| vec![key.clone()]);
        on_change(&self.stores.replica_sets, &queue, manager_or_namespace(&self.stores.deployments));
        let sets = self.stores.replica_sets.clone();
        // Only `Recreate` waits for pods; what else matters comes with their ReplicaSet's status.
        on_removal(&self.stores.pods, &queue, move |pod| {
            let set = pod.controller().and_then(|owner| sets.get(pod.namespace(), &owner.name));
            set.and_then(|set| set.controller().map(|owner| ObjectKey::new(set.namespace(), &owner.name)))
        });
    }

    fn launch_replica_sets(&mut self) {
        let (stores, pods) = self.pod_parts::<ReplicaSetController>();
        let queue = self.start(ReplicaSetController { stores, pods });
        on_change(&self.stores.replica_sets, &queue, |key, _| vec![key.clone()]);
        on_change(&self.stores.pods, &queue, manager_or_namespace(&self.stores.replica_sets));
    }

    fn launch_daemon_sets(&mut self) {
        let (stores, pods) = self.pod_parts::<DaemonSetController>();
        let queue = self.start(DaemonSetController { stores, pods });
        on_change(&self.stores.daemon_sets, &queue, |key, _| vec![key.clone()]);
        on_change(&self.stores.pods, &queue, manager_or_namespace(&self.stores.daemon_sets));
        let sets = self.stores.daemon_sets.clone();
        on_change(&self.stores.nodes, &queue, move |_, change| match (&change.old, &change.new) {
            (Some(old), Some(new)) if old.spec == new.spec && old.labels() == new.labels() => Vec::new(),
            _ => sets.list().iter().map(|set| set.key()).collect(),
        });
    }

    fn launch_endpoints(&mut self) {
        let (stores, writer, _) = self.parts::<EndpointController>();
        let queue = self.start(EndpointController { stores, writer });
        on_change(&self.stores.services, &queue, |key, _| vec![key.clone()]);
        on_change(&self.stores.endpoints, &queue, |key, _| vec![key.clone()]);
        on_change(&self.stores.endpoint_slices, &queue, |_, change| services_of_slices(change));
        let stores = self.stores.clone();
        on_change(&self.stores.pods, &queue, move |_, change| services_of_pod(&stores, change));
    }

    fn launch_mirror(&mut self) {
        let (stores, writer, _) = self.parts::<MirrorController>();
        let queue = self.start(MirrorController { stores, writer });
        on_change(&self.stores.services, &queue, |key, _| vec![key.clone()]);
        on_change(&self.stores.endpoints, &queue, |key, _| vec![key.clone()]);
        on_change(&self.stores.endpoint_slices, &queue, |_, change| services_of_slices(change));
    }

    fn pod_parts<R: Reconcile>(&self) -> (Stores, PodControl) {
        let (stores, writer, recorder) = self.parts::<R>();
        (stores, PodControl { writer, recorder })
    }

    fn parts<R: Reconcile>(&self) -> (Stores, Writer, Recorder) {
        (self.stores.clone(), self.writer(R::NAME), self.recorder.of(R::NAME))
    }

    fn writer(&self, name: &str) -> Writer {
        Writer::new(&self.client, &self.stores, name)
    }

    fn start<R: Reconcile>(&mut self, reconciler: R) -> Arc<WorkQueue<R::Key>> {
        let queue = Arc::new(WorkQueue::new());
        let controller = Controller { queue: Arc::clone(&queue), reconciler: Arc::new(reconciler) };
        self.tasks.spawn(controller.run(self.cancel.clone()));
        queue
    }
}

/// Puts the keys concerned by every change of a kind into a queue.
fn on_change<T: Kind>(
    store: &Store<T>,
    queue: &Arc<WorkQueue<ObjectKey>>,
    concerned: impl Fn(&ObjectKey, &Change<T>) -> Vec<ObjectKey> + Send + Sync + 'static,
) {
    let queue = Arc::clone(queue);
    store.subscribe(move |change| concerned(&change.key, change).into_iter().for_each(|key| queue.add(key)));
}

/// Puts the key concerned by the end of an object into a queue.
fn on_removal<T: Kind>(
    store: &Store<T>,
    queue: &Arc<WorkQueue<ObjectKey>>,
    concerned: impl Fn(&T) -> Option<ObjectKey> + Send + Sync + 'static,
) {
    on_change(store, queue, move |_, change| match (&change.old, &change.new) {
        (Some(old), None) => concerned(old).into_iter().collect(),
        _ => Vec::new(),
    });
}

fn services_of_slices(change: &Change<EndpointSlice>) -> Vec<ObjectKey> {
    [&change.old, &change.new].into_iter().flatten().filter_map(|slice| service_of_slice(slice)).collect()
}

/// The managers before and after a change, by kind; for an orphan every possible manager in its namespace.
fn manager_or_namespace<M: Kind, T: Kind>(
    managers: &Store<M>,
) -> impl Fn(&ObjectKey, &Change<T>) -> Vec<ObjectKey> + Send + Sync + 'static {
    let managers = managers.clone();
    move |key, change| {
        let sides = [&change.old, &change.new].into_iter().flatten();
        let owners = sides.filter_map(|object| object.controller()).filter(|owner| owner.kind == M::KIND);
        let mut keys: Vec<_> = owners.map(|owner| ObjectKey::new(&key.namespace, &owner.name)).collect();
        keys.dedup();
        if change.new.as_ref().is_some_and(|object| object.controller().is_none()) {
            keys.extend(managers.in_namespace(&key.namespace).iter().map(|manager| manager.key()));
        }
        keys
    }
}
