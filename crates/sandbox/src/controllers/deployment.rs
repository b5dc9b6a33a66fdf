//! Deployments: one ReplicaSet per pod template, and the way from one to the next.

mod revision;
mod scale;
mod status;
mod view;

use std::sync::Arc;

use apiserver::client::{ClientError, ObjectKey};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};

use self::{
    scale::Target,
    status::Step,
    view::{View, wanted},
};
use super::{
    claim::plan_claim,
    events::Recorder,
    kind::Kind,
    stores::Stores,
    worker::{Next, Reconcile},
    write::{Write, Writer},
};

pub(super) use view::{Rounding, scaled};

/// Keeps the ReplicaSets of Deployments as they should be.
pub(super) struct DeploymentController {
    pub(super) stores: Stores,
    pub(super) writer: Writer,
    pub(super) recorder: Recorder,
}

/// What one look at a Deployment leads to.
#[derive(Debug, PartialEq)]
struct Plan {
    /// In this order.
    writes: Vec<Write>,
    /// A ReplicaSet to make first.
    create: Option<ReplicaSet>,
    /// What to tell people: reason and message.
    notes: Vec<String>,
    status: DeploymentStatus,
    next: Next,
}

impl Reconcile for DeploymentController {
    type Key = ObjectKey;
    const NAME: &'static str = "deployment-controller";

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ClientError> {
        let Some(deployment) = self.stores.deployments.lookup(key) else { return Ok(Next::OnChange) };
        let Some(spec) = &deployment.spec else { return Ok(Next::OnChange) };
        let sets = self.stores.replica_sets.in_namespace(&key.namespace);
        let claim = plan_claim(&*deployment, &spec.selector, sets);
        if !claim.writes.is_empty() {
            // The caches see the adoption at once, and that brings this key back.
            self.writer.apply_all(claim.writes).await?;
            return Ok(Next::OnChange);
        }
        let pods: Vec<_> = claim.owned.iter().flat_map(|set| self.stores.pods.owned_by(set.uid())).collect();
        let plan = plan(&View::new(&deployment, spec, claim.owned, &pods, Timestamp::now()));
        self.carry_out(&deployment, plan).await
    }
}

impl DeploymentController {
    async fn carry_out(&self, deployment: &Deployment, plan: Plan) -> Result<Next, ClientError> {
        if let Some(set) = &plan.create {
            self.create(deployment, set).await?;
        }
        for write in plan.writes {
            self.writer.apply(write).await?;
        }
        for message in plan.notes {
            self.recorder.normal(deployment, "ScalingReplicaSet", message);
        }
        let updated = Deployment { status: Some(plan.status), ..deployment.clone() };
        if let Some(write) = Write::update_status(deployment, &updated) {
            self.writer.apply(write).await?;
        }
        Ok(plan.next)
    }

    async fn create(&self, deployment: &Deployment, set: &ReplicaSet) -> Result<(), ClientError> {
        let created = self.writer.apply(Write::create(set)).await;
        if created.as_ref().is_err_and(ClientError::is_already_exists) {
            self.count_collision(deployment, set).await?;
        }
        created.map(drop)
    }

    /// Another template has the same hash: the next attempt gets another name.
    async fn count_collision(&self, deployment: &Deployment, set: &ReplicaSet) -> Result<(), ClientError> {
        let present = self.stores.replica_sets.get(set.namespace(), set.name());
        if present.is_none_or(|present| present.controller().is_some_and(|owner| owner.uid == deployment.uid())) {
            // Ours, and only not seen yet.
            return Ok(());
        }
        let mut updated = deployment.clone();
        *updated.status.get_or_insert_default().collision_count.get_or_insert_default() += 1;
        match Write::update_status(deployment, &updated) {
            Some(write) => self.writer.apply(write).await.map(drop),
            None => Ok(()),
        }
    }
}

fn plan(view: &View<'_>) -> Plan {
    if view.deployment.is_terminating() {
        let status = status::plan_status(view, &Step::Scale);
        return Plan { writes: Vec::new(), create: None, notes: Vec::new(), status, next: Next::OnChange };
    }
    if view.is_paused() || scale::is_scaling(view) {
        return finish(view, &scale::plan_scale(view), None, &Step::Scale);
    }
    if view.bounds.rolling { plan_rolling(view) } else { plan_recreate(view) }
}

fn plan_rolling(view: &View<'_>) -> Plan {
    if view.new.is_some() {
        return finish(view, &scale::plan_rolling(view), None, &Step::Rollout);
    }
    let set = revision::new_replica_set(view, scale::rolling_size_of_new(view));
    create(view, set)
}

fn plan_recreate(view: &View<'_>) -> Plan {
    let targets = scale::plan_recreate(view);
    let shrinks = targets.iter().any(|(set, _)| view.old.iter().any(|old| Arc::ptr_eq(old, set)));
    if shrinks {
        return finish(view, &targets, None, &Step::Rollout);
    }
    if scale::old_pods_run(view) {
        return finish(view, &[], None, &Step::Rollout);
    }
    if view.new.is_some() {
        return finish(view, &targets, None, &Step::Rollout);
    }
    create(view, revision::new_replica_set(view, view.bounds.desired))
}

fn create(view: &View<'_>, set: ReplicaSet) -> Plan {
    let step = Step::Created(set.name().to_owned());
    finish(view, &[], Some(set), &step)
}

fn finish(view: &View<'_>, targets: &[Target], create: Option<ReplicaSet>, step: &Step) -> Plan {
    let mut notes: Vec<String> = create.iter().filter_map(|set| scaling_note(set, 0, wanted(set))).collect();
    let mut writes = Vec::new();
    for (set, size) in targets {
        writes.extend(revision::update_of_set(view, set, Some(*size)));
        notes.extend(scaling_note(set, wanted(set), *size));
    }
    if let Some(new) = view.new.as_ref().filter(|new| !targets.iter().any(|(set, _)| Arc::ptr_eq(set, new))) {
        writes.extend(revision::update_of_set(view, new, None));
    }
    if view.new.is_some() || create.is_some() {
        writes.extend(revision::update_of_deployment(view));
    }
    let status = status::plan_status(view, step);
    if targets.is_empty() && (view.is_paused() || status::is_complete(view, &status)) {
        writes.extend(revision::plan_cleanup(view));
    }
    let next = status::next_look(view, &status);
    Plan { writes, create, notes, status, next }
}

fn scaling_note(set: &ReplicaSet, from: i32, to: i32) -> Option<String> {
    let direction = if to > from { "up" } else { "down" };
    (to != from).then(|| format!("Scaled {direction} replica set {} from {from} to {to}", set.name()))
}

#[cfg(test)]
mod tests;
