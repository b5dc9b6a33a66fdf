//! What others are told of a pod.

use jiff::Timestamp;

use super::Worker;
use crate::node::pod::roles::Role;
use crate::node::pod::slot::Slot;
use crate::node::pod::status::{StatusFacts, plan_status};
use crate::node::registry::{ContainerEntry, PodEntry};
use crate::shim::Place;

impl Worker {
    /// Lets the API server and the node's own API know how things are.
    pub(super) fn tell(&self) {
        let metadata = &self.pod.metadata;
        let [namespace, name, uid] =
            [&metadata.namespace, &metadata.name, &metadata.uid].map(|part| part.as_deref().unwrap_or_default());
        let has_init = self.slots.iter().any(|slot| slot.role != Role::Main);
        let pending = if has_init { "PodInitializing" } else { "ContainerCreating" };
        let logs = self.context.records.log_directory(&self.pod);
        let entry = |slot: &Slot| {
            let log = |attempt: u32| logs.join(&slot.spec.name).join(format!("{attempt}.log"));
            let entry = ContainerEntry {
                current: slot.current.as_ref().map(|current| {
                    let directory = self.context.config.paths.containers().join(&current.id);
                    (Place::new(directory), log(slot.restarts))
                }),
                waiting_for: slot.waiting.as_ref().map_or(pending, |waiting| &waiting.reason).to_owned(),
                previous_log: slot.restarts.checked_sub(1).map(log),
                terminal: slot.spec.tty.unwrap_or_default(),
                stdin: slot.spec.stdin.unwrap_or_default(),
            };
            (slot.spec.name.clone(), entry)
        };
        let containers = self.slots.iter().map(entry).collect();
        self.context.registry.set(namespace, name, PodEntry { uid: uid.to_owned(), containers });
        if !self.wanted.borrow().gone {
            self.publisher.publish(plan_status(&self.pod, &self.facts(pending), Timestamp::now()));
        }
    }

    pub(super) fn facts(&self, pending: &str) -> StatusFacts {
        let known = self.pod.status.as_ref().and_then(|status| status.pod_ips.as_deref()).unwrap_or_default();
        let addresses = match &self.record.sandbox {
            Some(sandbox) => sandbox.addresses.clone(),
            // A pod that has ended keeps the address it had.
            None if self.outcome.is_some() => known.iter().filter_map(|ip| ip.ip.parse().ok()).collect(),
            None => Vec::new(),
        };
        StatusFacts {
            host_addresses: self.context.config.addresses.clone(),
            addresses,
            sandbox_ready: self.record.sandbox.is_some(),
            accepted_at: self.record.accepted_at,
            containers: self.slots.iter().map(|slot| (slot.role, slot.status(pending))).collect(),
            outcome: self.outcome,
            verdict: self.verdict.clone(),
        }
    }
}
