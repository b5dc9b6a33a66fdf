//! How containers and pods end: asked to, hurried, given up, forgotten.

use std::net::IpAddr;
use std::time::Duration;

use apiserver::client::{DeleteOptions, PODS};

use super::{SETUP_RETRY, Worker};
use crate::controllers::events::Severity::{Normal, Warning};
use crate::node::pod::{hooks, label, sandbox};
use crate::node::probe::Question;

/// What a pod without a grace period of its own gets.
const USUAL_GRACE_SECONDS: i64 = 30;

impl Worker {
    /// Asks a container to end, in the background: its hook may take long.
    pub(super) fn stop(&mut self, index: usize, grace: Duration) {
        let address = self.address();
        let slot = &mut self.slots[index];
        let event = ("Killing", format!("Stopping container {}", slot.spec.name));
        self.context.container_event(&self.pod, slot, Normal, event);
        self.end(index, grace, address);
    }

    pub(super) fn end(&mut self, index: usize, grace: Duration, address: Option<IpAddr>) {
        let slot = &mut self.slots[index];
        let spec = slot.spec.clone();
        let Some(current) = slot.current.as_mut().filter(|current| !current.stopping) else { return };
        let Some(container) = current.container.clone() else { return };
        (current.stopping, current.ready) = (true, current.ready && self.pod.metadata.deletion_timestamp.is_some());
        self.endings.spawn(async move { (index, hooks::end(spec, container, address, grace).await) });
    }

    pub(super) fn grace(&self) -> Duration {
        let asked = self.pod.metadata.deletion_grace_period_seconds;
        let own = self.pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
        // An object that is gone was deleted without grace.
        let seconds = if self.wanted.borrow().gone { 0 } else { asked.or(own).unwrap_or(USUAL_GRACE_SECONDS) };
        Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
    }

    /// Gives up what all containers shared, once none of them runs.
    pub(super) async fn tear_down(&mut self) {
        let Some(sandbox) = &self.record.sandbox else { return };
        match sandbox::remove(&self.context, &self.pod, sandbox).await {
            Ok(()) => {
                self.record.sandbox = None;
                self.keep_record();
            }
            Err(error) => {
                let message = format!("error killing pod: failed to stop sandbox: {error}");
                self.context.pod_event(&self.pod, Warning, "FailedKillPod", message);
                self.retry_setup();
            }
        }
    }

    /// The grace period became shorter: containers that are ending already are told so.
    pub(super) fn hurry(&mut self) {
        let grace = self.grace();
        for current in self.slots.iter().filter_map(|slot| slot.current.as_ref()) {
            if let (true, Some(container)) = (current.stopping && current.ended.is_none(), current.container.clone()) {
                self.endings.spawn(async move {
                    container.stop(grace).await;
                    (usize::MAX, Ok(()))
                });
            }
        }
    }

    pub(super) fn note_ending(&mut self, ended: Result<(usize, Result<(), String>), tokio::task::JoinError>) {
        if let Ok((index, Err(why))) = ended
            && let Some(slot) = self.slots.get(index)
        {
            self.context.container_event(
                &self.pod,
                slot,
                Warning,
                ("FailedPreStopHook", format!("PreStopHook failed: {why}")),
            );
        }
    }

    pub(super) fn restart_unhealthy(&mut self, index: usize, question: Question) {
        let slot = &self.slots[index];
        if self.is_ending() || slot.current.as_ref().is_none_or(|current| current.stopping) {
            return;
        }
        let probe = match question {
            Question::Alive => slot.spec.liveness_probe.as_ref(),
            _ => slot.spec.startup_probe.as_ref(),
        };
        let own = probe.and_then(|probe| probe.termination_grace_period_seconds).and_then(|s| u64::try_from(s).ok());
        let what = question.title().to_lowercase();
        let event = ("Killing", format!("Container {} failed {what} probe, will be restarted", slot.spec.name));
        self.context.container_event(&self.pod, slot, Normal, event);
        let grace = own.map_or_else(|| self.grace(), Duration::from_secs);
        self.end(index, grace, self.address());
    }

    /// The end: nothing of the pod is left here, and the API server may forget it, too.
    pub(super) async fn leave(&mut self) {
        let metadata = &self.pod.metadata;
        let [namespace, name, uid] =
            [&metadata.namespace, &metadata.name, &metadata.uid].map(|part| part.as_deref().unwrap_or_default());
        self.context.registry.remove(namespace, name, uid);
        self.volumes = None;
        self.context.volumes.unmount(uid);
        if !self.wanted.borrow().gone {
            self.publisher.flush().await;
            self.delete_object(namespace, name, uid).await;
        }
        if let Err(error) = self.context.records.remove_pod(&self.pod) {
            tracing::warn!(pod = label(&self.pod), %error, "something of a pod is left on disk");
        }
    }

    pub(super) async fn delete_object(&self, namespace: &str, name: &str, uid: &str) {
        let options = DeleteOptions::now().with_uid(uid);
        loop {
            match self.context.client.delete(&PODS, namespace, name, &options).await {
                Ok(_) => return,
                Err(error) if error.is_not_found() || error.is_conflict() => return,
                Err(error) => {
                    tracing::warn!(pod = label(&self.pod), %error, "pod not deleted");
                    tokio::time::sleep(SETUP_RETRY).await;
                }
            }
        }
    }
}
