//! The next step of a StatefulSet: one at a time, in order, unless it asked for parallel management.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{StatefulSet, StatefulSetSpec, StatefulSetStatus},
    core::v1::{Pod, PodTemplateSpec},
};

use super::identity::{ordinal, ordinal_pod};
use crate::controllers::{
    history::REVISION_LABEL,
    kind::Kind,
    pod::{Readiness, has_ended, phase},
    worker::Next,
};

/// A template with its name.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Revision {
    pub(super) name: String,
    pub(super) template: PodTemplateSpec,
}

/// Everything a decision about one StatefulSet may look at.
pub(super) struct View<'a> {
    set: &'a StatefulSet,
    spec: &'a StatefulSetSpec,
    pods: BTreeMap<i32, Arc<Pod>>,
    /// What pods were made from before the rollout under way.
    current: &'a Revision,
    /// What they are to be made from.
    update: &'a Revision,
    now: Timestamp,
}

/// What one look at a StatefulSet leads to.
#[derive(Debug, PartialEq)]
pub(super) struct Plan {
    pub(super) actions: Vec<Action>,
    pub(super) status: StatefulSetStatus,
    pub(super) next: Next,
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    Create(Box<Pod>),
    Delete(Arc<Pod>),
}

impl<'a> View<'a> {
    pub(super) fn new(
        set: &'a StatefulSet,
        spec: &'a StatefulSetSpec,
        pods: Vec<Arc<Pod>>,
        (current, update): (&'a Revision, &'a Revision),
        now: Timestamp,
    ) -> Self {
        let pods = pods.into_iter().filter_map(|pod| Some((ordinal(set, &pod)?, pod))).collect();
        Self { set, spec, pods, current, update, now }
    }

    fn ordinals(&self) -> std::ops::Range<i32> {
        let start = self.spec.ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or(0);
        start..start.saturating_add(self.spec.replicas.unwrap_or(1))
    }

    fn is_ordered(&self) -> bool {
        self.spec.pod_management_policy.as_deref() != Some("Parallel")
    }

    /// Ordinals from here on are updated.
    fn first_updated(&self) -> i32 {
        let strategy = self.spec.update_strategy.as_ref();
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        self.ordinals().start + rolling.and_then(|rolling| rolling.partition).unwrap_or(0)
    }

    fn updates_by_itself(&self) -> bool {
        let strategy = self.spec.update_strategy.as_ref().and_then(|strategy| strategy.type_.as_deref());
        strategy != Some("OnDelete")
    }

    fn readiness(&self, pod: &Pod) -> Readiness {
        Readiness::of(pod, self.spec.min_ready_seconds.unwrap_or(0), self.now)
    }

    /// Runs, serves, and is to stay.
    fn is_healthy(&self, pod: &Pod) -> bool {
        phase(pod) == "Running" && !pod.is_terminating() && self.readiness(pod) == Readiness::Available
    }

    fn new_pod(&self, ordinal: i32) -> Pod {
        let stays_behind = self.updates_by_itself() && ordinal < self.first_updated();
        ordinal_pod(self.set, self.spec, if stays_behind { self.current } else { self.update }, ordinal)
    }
}

pub(super) fn plan(view: &View<'_>) -> Plan {
    let actions = if view.set.is_terminating() { Vec::new() } else { plan_actions(view) };
    let waits = view.pods.values().filter_map(|pod| view.readiness(pod).wait());
    Plan { actions, status: plan_status(view), next: Next::soonest(waits) }
}

fn plan_actions(view: &View<'_>) -> Vec<Action> {
    let (mut actions, settled) = fill(view);
    if !settled && view.is_ordered() {
        return actions;
    }
    let (removals, removed) = shrink(view);
    actions.extend(removals);
    if actions.is_empty() && removed && view.updates_by_itself() {
        actions.extend(update(view));
    }
    actions
}

/// Makes missing pods and replaces ended ones; `true` when every ordinal has a healthy pod.
fn fill(view: &View<'_>) -> (Vec<Action>, bool) {
    let (mut actions, mut settled) = (Vec::new(), true);
    for ordinal in view.ordinals() {
        match view.pods.get(&ordinal) {
            None => actions.push(Action::Create(Box::new(view.new_pod(ordinal)))),
            Some(pod) if has_ended(pod) && !pod.is_terminating() => actions.push(Action::Delete(Arc::clone(pod))),
            Some(pod) if view.is_healthy(pod) => continue,
            Some(_) => {}
        }
        settled = false;
        if view.is_ordered() {
            break;
        }
    }
    (actions, settled)
}

/// Ends pods beyond the wanted number, the last first; `true` when there are none.
fn shrink(view: &View<'_>) -> (Vec<Action>, bool) {
    let wanted = view.ordinals();
    let surplus = view.pods.iter().rev().filter(|(ordinal, _)| !wanted.contains(ordinal));
    let mut actions = Vec::new();
    let mut count = 0;
    for (_, pod) in surplus {
        count += 1;
        if !pod.is_terminating() {
            actions.push(Action::Delete(Arc::clone(pod)));
        }
        if view.is_ordered() {
            break;
        }
    }
    (actions, count == 0)
}

/// Ends the last pod of an older template, once all after it are healthy.
fn update(view: &View<'_>) -> Option<Action> {
    for ordinal in (view.first_updated()..view.ordinals().end).rev() {
        let pod = view.pods.get(&ordinal)?;
        if revision(pod) != Some(&view.update.name) && !pod.is_terminating() {
            return Some(Action::Delete(Arc::clone(pod)));
        }
        if !view.is_healthy(pod) {
            return None;
        }
    }
    None
}

fn plan_status(view: &View<'_>) -> StatefulSetStatus {
    let count = |counts: &dyn Fn(&Pod) -> bool| {
        i32::try_from(view.pods.values().filter(|pod| counts(pod)).count()).unwrap_or(i32::MAX)
    };
    let of_revision = |wanted: &Revision| count(&|pod| !pod.is_terminating() && revision(pod) == Some(&wanted.name));
    let ready = count(&|pod| phase(pod) == "Running" && view.readiness(pod).is_ready());
    let (replicas, updated) = (count(&|_| true), of_revision(view.update));
    let wanted = view.spec.replicas.unwrap_or(1);
    let is_complete = view.updates_by_itself() && updated == wanted && replicas == wanted && ready == wanted;
    let current = if is_complete { view.update } else { view.current };
    let non_zero = |count: i32| Some(count).filter(|&count| count != 0);
    StatefulSetStatus {
        observed_generation: view.set.metadata.generation,
        replicas,
        ready_replicas: non_zero(ready),
        // Written even when it is nothing, as Kubernetes does.
        available_replicas: Some(count(&|pod| view.readiness(pod) == Readiness::Available)),
        current_replicas: non_zero(of_revision(current)),
        updated_replicas: non_zero(updated),
        current_revision: Some(current.name.clone()),
        update_revision: Some(view.update.name.clone()),
        collision_count: Some(view.set.status.as_ref().and_then(|status| status.collision_count).unwrap_or(0)),
        conditions: None,
    }
}

fn revision(pod: &Pod) -> Option<&String> {
    pod.labels().get(REVISION_LABEL)
}
