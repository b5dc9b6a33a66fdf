//! The scheduler: a node for every pod that has none.
//!
//! One task decides, one pod after the other, on a board that holds its own decisions already; binding them happens
//! beside it, many at a time.

mod board;
mod unfit;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use apiserver::client::{ClientError, ObjectKey};
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Pod, PodCondition},
    apimachinery::pkg::apis::meta::v1::Time,
};
use tokio::{sync::Semaphore, task::JoinSet};
use tokio_util::sync::CancellationToken;

use self::{board::Board, unfit::Unfit};
use super::{
    events::Recorder,
    kind::Kind,
    pod::{condition, has_ended, node_name},
    queue::WorkQueue,
    stores::Stores,
    write::{Write, Writer},
};

pub(super) const NAME: &str = "default-scheduler";
/// Bindings in flight at once.
const PARALLEL: usize = 16;

/// Gives pods their nodes.
#[derive(Clone)]
pub(super) struct Scheduler {
    stores: Stores,
    writer: Writer,
    recorder: Recorder,
    shared: Arc<Shared>,
}

struct Shared {
    queue: WorkQueue<ObjectKey>,
    board: Mutex<Board>,
    /// Pods no node took; tried again when something changes that may help.
    waiting: Mutex<HashSet<ObjectKey>>,
}

impl Scheduler {
    /// A scheduler that follows the caches.
    pub(super) fn new(stores: &Stores, writer: Writer, recorder: Recorder) -> Self {
        let shared = Arc::new(Shared { queue: WorkQueue::new(), board: Mutex::default(), waiting: Mutex::default() });
        let nodes = Arc::clone(&shared);
        stores.nodes.subscribe(move |change| {
            match &change.new {
                Some(node) => nodes.board().put_node(node),
                None => nodes.board().remove_node(&change.key.name),
            }
            nodes.retry_waiting();
        });
        let pods = Arc::clone(&shared);
        stores.pods.subscribe(move |change| match &change.new {
            Some(pod) => pods.observe(&change.key, change.old.as_deref(), pod),
            None => pods.forget(change.old.as_deref()),
        });
        Self { stores: stores.clone(), writer, recorder, shared }
    }

    /// Schedules until cancelled; bindings begun are finished.
    pub(super) async fn run(self, cancel: CancellationToken) {
        let permits = Arc::new(Semaphore::new(PARALLEL));
        let mut bindings = JoinSet::new();
        while let Some(key) = cancel.run_until_cancelled(self.shared.queue.next()).await {
            while bindings.try_join_next().is_some() {}
            let Some(pod) = self.stores.pods.lookup(&key).filter(|pod| self.is_ours(pod)) else {
                self.shared.queue.succeed(&key);
                continue;
            };
            match self.shared.decide(&key, &pod) {
                Ok(node) => {
                    let permit = Arc::clone(&permits).acquire_owned().await;
                    let scheduler = self.clone();
                    bindings.spawn(async move {
                        scheduler.bind(&key, &pod, &node).await;
                        drop(permit);
                    });
                }
                Err(unfit) => {
                    let scheduler = self.clone();
                    bindings.spawn(async move { scheduler.explain(&key, &pod, &unfit).await });
                }
            }
        }
        while bindings.join_next().await.is_some() {}
    }

    /// Whether the pod waits for a node, and for this scheduler to find it.
    fn is_ours(&self, pod: &Pod) -> bool {
        let spec = pod.spec.as_ref();
        let scheduler = spec.and_then(|spec| spec.scheduler_name.as_deref()).unwrap_or(NAME);
        let gated = spec.and_then(|spec| spec.scheduling_gates.as_ref()).is_some_and(|gates| !gates.is_empty());
        let placed = node_name(pod).is_some() || self.shared.board().is_placed(pod);
        scheduler == NAME && !gated && !placed && !pod.is_terminating()
    }

    async fn bind(&self, key: &ObjectKey, pod: &Pod, node: &str) {
        match self.writer.client().bind(&key.namespace, &key.name, node).await {
            Ok(()) => {
                self.shared.queue.succeed(key);
                self.recorder.normal(pod, "Scheduled", format!("Successfully assigned {key} to {node}"));
            }
            Err(error) => {
                tracing::debug!(pod = %key, node, %error, "cannot bind");
                self.give_back(key, pod);
                self.shared.queue.fail(key);
            }
        }
    }

    /// Undoes a decision, unless somebody else has bound the pod meanwhile.
    fn give_back(&self, key: &ObjectKey, pod: &Pod) {
        let present = self.stores.pods.lookup(key);
        match present.as_deref().and_then(node_name) {
            Some(node) => self.shared.board().place(pod, node),
            None => self.shared.board().remove(pod),
        }
    }

    /// Tells the user why the pod waits.
    async fn explain(&self, key: &ObjectKey, pod: &Pod, unfit: &Unfit) {
        let message = unfit.to_string();
        let known = condition(pod, "PodScheduled").and_then(|condition| condition.message.as_deref());
        let said = if known == Some(message.as_str()) { Ok(()) } else { self.note_unschedulable(pod, &message).await };
        self.recorder.warning(pod, "FailedScheduling", message);
        match said {
            Ok(()) => self.shared.queue.succeed(key),
            Err(error) => {
                tracing::debug!(pod = %key, %error, "cannot write why the pod waits");
                self.shared.queue.fail(key);
            }
        }
    }

    async fn note_unschedulable(&self, pod: &Pod, message: &str) -> Result<(), ClientError> {
        let mut updated = pod.clone();
        let conditions = updated.status.get_or_insert_default().conditions.get_or_insert_default();
        conditions.retain(|condition| condition.type_ != "PodScheduled");
        conditions.push(PodCondition {
            type_: "PodScheduled".to_owned(),
            status: "False".to_owned(),
            reason: Some("Unschedulable".to_owned()),
            message: Some(message.to_owned()),
            last_transition_time: Some(Time(Timestamp::now())),
            ..PodCondition::default()
        });
        match Write::update_status(pod, &updated) {
            Some(write) => self.writer.apply(write).await.map(drop),
            None => Ok(()),
        }
    }
}

impl Shared {
    /// Decides and takes the place at once, so that the next decision knows of it.
    fn decide(&self, key: &ObjectKey, pod: &Pod) -> Result<String, Unfit> {
        let Some(spec) = &pod.spec else { return Err(Unfit::of(0)) };
        let mut board = self.board();
        let decision = board.choose(pod, spec).map(str::to_owned);
        match &decision {
            Ok(node) => board.place(pod, node),
            // Under the board's lock: a node that changes from now on finds the pod waiting.
            Err(_) => drop(self.waiting().insert(key.clone())),
        }
        decision
    }

    fn observe(&self, key: &ObjectKey, before: Option<&Pod>, pod: &Pod) {
        if has_ended(pod) {
            return self.forget(Some(pod));
        }
        if let Some(node) = node_name(pod) {
            self.board().place(pod, node);
            self.waiting().remove(key);
            return;
        }
        let same =
            before.is_some_and(|before| before.spec == pod.spec && before.metadata.labels == pod.metadata.labels);
        if !same || !self.waiting().contains(key) {
            self.waiting().remove(key);
            self.queue.add(key.clone());
        }
    }

    fn forget(&self, pod: Option<&Pod>) {
        if let Some(pod) = pod {
            self.board().remove(pod);
            self.waiting().remove(&pod.key());
            self.retry_waiting();
        }
    }

    fn retry_waiting(&self) {
        for key in self.waiting().drain() {
            self.queue.add(key);
        }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, HashSet<ObjectKey>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
