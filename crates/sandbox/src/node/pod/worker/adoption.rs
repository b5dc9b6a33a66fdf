//! What an earlier runtime left of a pod.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use super::Worker;
use crate::node::container::{Container, Ended};
use crate::node::pod::last_words::last_words;
use crate::node::pod::plan::Outcome;
use crate::node::pod::slot::{Current, bare_id, termination};

impl Worker {
    /// Takes over what an earlier runtime left: the containers that run, and what became of those that do not.
    pub(super) fn adopt(&mut self, uid: &str) {
        let statuses = self.pod.status.as_ref();
        let ready: BTreeMap<String, (bool, bool)> = statuses
            .iter()
            .flat_map(|status| status.container_statuses.iter().chain(&status.init_container_statuses).flatten())
            .filter_map(|status| {
                let id = bare_id(status.container_id.as_deref()?).to_owned();
                Some((id, (status.started.unwrap_or_default(), status.ready)))
            })
            .collect();
        for (record, place) in self.context.records.containers(uid) {
            let Some(slot) = self.slots.iter_mut().find(|slot| slot.spec.name == record.name) else { continue };
            let former = slot.current.take().and_then(|current| current.ended);
            slot.last = former.or(slot.last.take());
            slot.restarts = record.attempt;
            let (started, was_ready) = ready.get(&record.id).copied().unwrap_or_default();
            let ended = place.exit().ok().map(|exit| {
                let words = last_words(slot, &place, exit.code);
                termination(&record.id, &Ended { exit, lost: false }, words)
            });
            let container = Container::adopt(place, Arc::clone(&self.changed)).ok().map(Arc::new);
            if container.is_none() && ended.is_none() {
                continue;
            }
            slot.current = Some(Current {
                id: record.id,
                container,
                started: started || slot.spec.startup_probe.is_none(),
                ready: was_ready || slot.spec.readiness_probe.is_none(),
                stopping: false,
                ended,
                probes: None,
            });
        }
    }
}

/// How a pod that is over ended, as its status says.
pub(super) fn outcome_in(pod: &Pod) -> Option<Outcome> {
    match pod.status.as_ref()?.phase.as_deref()? {
        "Succeeded" => Some(Outcome::Succeeded),
        "Failed" => Some(Outcome::Failed),
        _ => None,
    }
}
