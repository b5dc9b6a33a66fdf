//! Hands what the API server says of this node's pods to one worker per pod.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use apiserver::client::{Event, ListOptions, PODS};
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::pod::{self, Context, Wanted};

/// Runs the pods of this node until `cancel`; their containers go on without us.
pub async fn run(context: Arc<Context>, cancel: CancellationToken) {
    let mine = ListOptions::fields(&format!("spec.nodeName={}", context.config.name));
    let mut events = context.client.watch(&PODS, "", mine);
    let mut pods = Pods { context, cancel: cancel.clone(), workers: HashMap::new(), tasks: JoinSet::new() };
    loop {
        tokio::select! {
            () = cancel.cancelled() => break,
            event = events.next() => pods.follow(event),
            Some(ended) = pods.tasks.join_next(), if !pods.tasks.is_empty() => pods.note_end(ended),
        }
    }
    // Workers see the same cancellation.
    while pods.tasks.join_next().await.is_some() {}
}

struct Pods {
    context: Arc<Context>,
    cancel: CancellationToken,
    workers: HashMap<String, watch::Sender<Wanted>>,
    tasks: JoinSet<String>,
}

impl Pods {
    fn follow(&mut self, event: Event) {
        match event {
            Event::Applied(object) => self.update(object, false),
            Event::Deleted(object) => self.update(object, true),
            Event::Restarted(objects) => self.restart(objects),
        }
    }

    /// The list is all there is: everything else known here, running or recorded, has to go.
    fn restart(&mut self, objects: Vec<Value>) {
        let uid = |object: &Value| object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        let listed: HashSet<String> = objects.iter().map(uid).collect();
        for worker in self.workers.iter().filter(|(uid, _)| !listed.contains(*uid)).map(|(_, worker)| worker) {
            worker.send_modify(|wanted| wanted.gone = true);
        }
        for record in self.context.records.pods() {
            let uid = record.pod.metadata.uid.clone().unwrap_or_default();
            if !listed.contains(&uid) && !self.workers.contains_key(&uid) {
                self.spawn(uid, Wanted { pod: Arc::new(record.pod), gone: true });
            }
        }
        for object in objects {
            self.update(object, false);
        }
    }

    fn update(&mut self, object: Value, gone: bool) {
        let pod: Pod = match serde_json::from_value(object) {
            Ok(pod) => pod,
            Err(error) => return tracing::warn!(%error, "pod ignored: not what its kind promises"),
        };
        let Some(uid) = pod.metadata.uid.clone() else { return };
        let wanted = Wanted { pod: Arc::new(pod), gone };
        match self.workers.get(&uid) {
            // A deleted pod that has no worker was done with before.
            None if gone => {}
            None => self.spawn(uid, wanted),
            Some(worker) => drop(worker.send_replace(wanted)),
        }
    }

    fn spawn(&mut self, uid: String, wanted: Wanted) {
        let (sender, receiver) = watch::channel(wanted);
        let (context, cancel) = (Arc::clone(&self.context), self.cancel.clone());
        self.workers.insert(uid.clone(), sender);
        self.tasks.spawn(async move {
            pod::run(context, receiver, cancel).await;
            uid
        });
    }

    fn note_end(&mut self, ended: Result<String, tokio::task::JoinError>) {
        match ended {
            Ok(uid) => drop(self.workers.remove(&uid)),
            Err(error) => tracing::error!(%error, "the worker of a pod failed; its pod is not looked after any more"),
        }
    }
}
