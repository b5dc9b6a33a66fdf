//! The control plane beside the API server: the scheduler, the workload controllers, endpoints, namespaces, garbage
//! collection and the life of nodes.
//!
//! Every controller is a pure function from what the shared caches hold to the writes that bring the cluster closer to
//! what is wanted, and a loop around it with a queue of keys. There is one watch per kind for all of them.

mod account;
mod claim;
mod daemon_set;
mod deployment;
mod endpoints;
pub(crate) mod events;
mod garbage;
mod history;
pub(crate) mod kind;
mod namespace;
mod node;
mod placement;
mod pod;
mod pod_control;
mod queue;
mod replica_set;
mod scheduler;
mod selector;
mod stateful_set;
mod stores;
mod worker;
mod write;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use apiserver::client::{Change, Client, ObjectKey, Store};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::{
    account::{AccountController, ROOT_CERTIFICATE},
    daemon_set::DaemonSetController,
    deployment::DeploymentController,
    endpoints::{EndpointController, MirrorController, service_of_slice, services_of_pod},
    events::Recorder,
    garbage::GarbageCollector,
    kind::Kind,
    namespace::NamespaceController,
    node::{CidrController, HealthController, LEASE_NAMESPACE, OrphanController, QUARANTINE},
    pod::node_name,
    pod_control::PodControl,
    queue::WorkQueue,
    replica_set::ReplicaSetController,
    scheduler::Scheduler,
    stateful_set::StatefulSetController,
    stores::Stores,
    worker::{Controller, Reconcile},
    write::Writer,
};

pub use node::Pool;

/// What the controllers have to know about their cluster.
#[derive(Clone, Debug)]
pub struct Config {
    /// The API server's unix socket.
    pub socket: PathBuf,
    /// Networks nodes get their pod networks from, the main family first.
    pub pod_networks: Vec<Pool>,
    /// PEM of the certificate authority pods are to trust, for `kube-root-ca.crt` in every namespace.
    pub ca_certificate: String,
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
    let fleet = Fleet { client, stores, recorder, cancel: cancel.clone(), tasks: &mut tasks };
    // Every loop ends with the token; the event writer ends with the last recorder.
    cancel.run_until_cancelled(fleet.launch(config)).await;
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
    async fn launch(mut self, config: Config) {
        self.launch_scheduler();
        self.launch_deployments();
        self.launch_replica_sets();
        self.launch_daemon_sets();
        self.launch_stateful_sets();
        self.launch_endpoints();
        self.launch_mirror();
        self.launch_nodes(config.pod_networks);
        self.launch_namespaces(&config.ca_certificate);
        self.launch_garbage_collector().await;
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

    fn launch_stateful_sets(&mut self) {
        let (stores, writer, recorder) = self.parts::<StatefulSetController>();
        let queue = self.start(StatefulSetController { stores, writer, recorder });
        on_change(&self.stores.stateful_sets, &queue, |key, _| vec![key.clone()]);
        on_change(&self.stores.pods, &queue, manager_or_namespace(&self.stores.stateful_sets));
    }

    fn launch_endpoints(&mut self) {
        let (stores, writer, _) = self.parts::<EndpointController>();
        let queue = self.start(EndpointController::new(stores, writer));
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

    fn launch_nodes(&mut self, pools: Vec<Pool>) {
        let (stores, writer, recorder) = self.parts::<CidrController>();
        let queue = self.start(CidrController { stores, writer, recorder, pools });
        on_change(&self.stores.nodes, &queue, |key, _| vec![key.clone()]);

        let (stores, writer, recorder) = self.parts::<HealthController>();
        let queue = self.start(HealthController { stores, writer, recorder, heard: Mutex::default() });
        on_change(&self.stores.nodes, &queue, |key, _| vec![key.clone()]);
        on_change(&self.stores.leases, &queue, |key, _| {
            let is_heartbeat = &*key.namespace == LEASE_NAMESPACE;
            is_heartbeat.then(|| ObjectKey::new("", &key.name)).into_iter().collect()
        });

        let (stores, writer, _) = self.parts::<OrphanController>();
        let queue = self.start(OrphanController { stores, writer });
        let (nodes, orphans) = (self.stores.nodes.clone(), Arc::clone(&queue));
        self.stores.pods.subscribe(move |change| {
            let node = change.new.as_deref().and_then(node_name);
            if node.is_some_and(|node| nodes.get("", node).is_none()) {
                orphans.add_after(change.key.clone(), QUARANTINE);
            }
        });
        let pods = self.stores.pods.clone();
        self.stores.nodes.subscribe(move |change| {
            if change.new.is_none() {
                let all = pods.list();
                let orphaned = all.iter().filter(|pod| node_name(pod) == Some(&*change.key.name));
                orphaned.for_each(|pod| queue.add_after(pod.key(), QUARANTINE));
            }
        });
    }

    fn launch_namespaces(&mut self, ca_certificate: &str) {
        let (stores, writer, _) = self.parts::<NamespaceController>();
        let queue = self.start(NamespaceController { stores, writer });
        on_change(&self.stores.namespaces, &queue, |key, _| vec![key.clone()]);
        // The last pod is what an ending namespace waits for.
        on_removal(&self.stores.pods, &queue, |pod| Some(ObjectKey::new("", pod.namespace())));

        let (stores, writer, _) = self.parts::<AccountController>();
        let queue = self.start(AccountController { stores, writer, ca_certificate: Arc::from(ca_certificate) });
        on_change(&self.stores.namespaces, &queue, |key, _| vec![key.clone()]);
        on_removal(&self.stores.service_accounts, &queue, |account| Some(ObjectKey::new("", account.namespace())));
        on_change(&self.stores.config_maps, &queue, |key, _| {
            let is_certificate = &*key.name == ROOT_CERTIFICATE;
            is_certificate.then(|| ObjectKey::new("", &key.namespace)).into_iter().collect()
        });
    }

    async fn launch_garbage_collector(&mut self) {
        let queue = Arc::new(WorkQueue::new());
        let writer = self.writer(GarbageCollector::NAME);
        let collector = GarbageCollector::new(&self.client, &self.stores, writer, &queue).await;
        self.tasks.spawn(Controller { queue, reconciler: Arc::new(collector) }.run(self.cancel.clone()));
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
