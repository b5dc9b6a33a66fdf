//! DaemonSets: one pod of a template on every node that admits it.

mod nodes;
mod rollout;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use apiserver::client::{ClientError, ObjectKey};
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{DaemonSet, DaemonSetSpec, DaemonSetStatus},
    core::v1::{Node, Pod},
};

use self::{
    nodes::{Fit, daemon_pod, fit, target_node},
    rollout::plan_rollout,
};
use super::{
    claim::plan_claim,
    history::{Current, History, REVISION_LABEL},
    kind::Kind,
    pod::{Readiness, has_ended},
    pod_control::PodControl,
    stores::Stores,
    worker::{Next, Reconcile},
    write::Write,
};

/// A pod that has ended is replaced after this long, so that one that always fails does not spin.
const REPLACE_AFTER: Duration = Duration::from_secs(5);

/// Keeps the pods of DaemonSets where they should be.
pub(super) struct DaemonSetController {
    pub(super) stores: Stores,
    pub(super) pods: PodControl,
}

/// Everything a decision about one DaemonSet may look at.
struct View<'a> {
    set: &'a DaemonSet,
    spec: &'a DaemonSetSpec,
    /// Hash of the current template.
    hash: &'a str,
    places: Vec<Place>,
    now: Timestamp,
}

/// One node with the set's pods on it, oldest first.
struct Place {
    node: Arc<Node>,
    fit: Fit,
    pods: Vec<Arc<Pod>>,
}

/// What one look at a DaemonSet leads to.
#[derive(Debug, PartialEq)]
struct Plan {
    create: Vec<Pod>,
    delete: Vec<Arc<Pod>>,
    status: DaemonSetStatus,
    next: Next,
}

impl Reconcile for DaemonSetController {
    type Key = ObjectKey;
    const NAME: &'static str = "daemonset-controller";

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ClientError> {
        let Some(set) = self.stores.daemon_sets.lookup(key) else { return Ok(Next::OnChange) };
        let Some(spec) = &set.spec else { return Ok(Next::OnChange) };
        let claim = plan_claim(&*set, &spec.selector, self.stores.pods.in_namespace(&key.namespace));
        if !claim.writes.is_empty() {
            self.pods.writer.apply_all(claim.writes).await?;
            return Ok(Next::OnChange);
        }
        let history = History::new(self.stores.revisions.owned_by(set.uid()));
        let current = history.current(&*set, &spec.template, collisions(&set));
        if let Some(write) = current.write.clone().filter(|_| !set.is_terminating()) {
            self.note_revision(&set, write).await?;
        }
        let places = place_pods(&self.stores.nodes.list(), &claim.owned, spec);
        let view = View { set: &set, spec, hash: &current.hash, places, now: Timestamp::now() };
        let plan = plan(&view);
        self.carry_out(
            &set,
            plan,
            history.plan_cleanup(spec.revision_history_limit, |name| is_used(name, &current, &set, &claim.owned)),
        )
        .await
    }
}

impl DaemonSetController {
    /// Writes the current revision; if another template has its name, the next look takes another one.
    async fn note_revision(&self, set: &DaemonSet, write: Write) -> Result<(), ClientError> {
        let written = self.pods.writer.apply(write).await;
        if written.as_ref().is_err_and(ClientError::is_already_exists) {
            let mut updated = set.clone();
            *updated.status.get_or_insert_default().collision_count.get_or_insert_default() += 1;
            if let Some(write) = Write::update_status(set, &updated) {
                self.pods.writer.apply(write).await?;
            }
        }
        written.map(drop)
    }

    async fn carry_out(&self, set: &DaemonSet, plan: Plan, cleanup: Vec<Write>) -> Result<Next, ClientError> {
        let deleted = self.pods.delete_all(set, &plan.delete).await;
        let created = self.pods.create_all(set, plan.create).await;
        let updated = DaemonSet { status: Some(plan.status), ..set.clone() };
        if let Some(write) = Write::update_status(set, &updated) {
            self.pods.writer.apply(write).await?;
        }
        self.pods.writer.apply_all(cleanup).await?;
        deleted.and(created).map(|()| plan.next)
    }
}

fn collisions(set: &DaemonSet) -> Option<i32> {
    set.status.as_ref().and_then(|status| status.collision_count)
}

fn is_used(revision: &str, current: &Current, set: &DaemonSet, pods: &[Arc<Pod>]) -> bool {
    let hash = revision.strip_prefix(set.name()).map_or("", |rest| rest.trim_start_matches('-'));
    revision == current.name || pods.iter().any(|pod| pod.labels().get(REVISION_LABEL).is_some_and(|own| own == hash))
}

fn place_pods(nodes: &[Arc<Node>], pods: &[Arc<Pod>], spec: &DaemonSetSpec) -> Vec<Place> {
    let mut by_node: BTreeMap<&str, Vec<Arc<Pod>>> = BTreeMap::new();
    for pod in pods {
        by_node.entry(target_node(pod).unwrap_or_default()).or_default().push(Arc::clone(pod));
    }
    let place = |node: &Arc<Node>| {
        let mut pods = by_node.remove(node.name()).unwrap_or_default();
        pods.sort_by(|a, b| (a.created_at(), a.name()).cmp(&(b.created_at(), b.name())));
        Place { node: Arc::clone(node), fit: fit(&spec.template, node), pods }
    };
    nodes.iter().map(place).collect()
}

fn plan(view: &View<'_>) -> Plan {
    let status = plan_status(view);
    let waits = view.places.iter().flat_map(|place| &place.pods).filter_map(|pod| view.readiness(pod).wait());
    let mut plan = Plan { create: Vec::new(), delete: Vec::new(), status, next: Next::soonest(waits) };
    if view.set.is_terminating() {
        return plan;
    }
    for place in &view.places {
        plan_place(view, place, &mut plan);
    }
    if plan.create.is_empty() && plan.delete.is_empty() {
        plan.delete = plan_rollout(view);
    }
    plan
}

/// At most one pod where there should be one, none elsewhere.
fn plan_place(view: &View<'_>, place: &Place, plan: &mut Plan) {
    let present = place.pods.iter().filter(|pod| !pod.is_terminating());
    if place.fit == Fit::Refuses {
        plan.delete.extend(present.cloned());
        return;
    }
    let (ended, mut active): (Vec<_>, Vec<_>) = present.cloned().partition(|pod| has_ended(pod));
    for pod in ended {
        let age = Duration::try_from(view.now.duration_since(pod.created_at())).unwrap_or_default();
        if age >= REPLACE_AFTER {
            plan.delete.push(pod);
        } else {
            plan.next = Next::soonest([REPLACE_AFTER - age].into_iter().chain(plan.next.wait()));
        }
    }
    if active.len() > 1 {
        plan.delete.extend(active.split_off(1));
    }
    // A pod on its way out keeps its place until it is gone.
    if place.pods.is_empty() && place.fit == Fit::Runs {
        plan.create.push(daemon_pod(view.set, &view.spec.template, view.hash, place.node.name()));
    }
}

fn plan_status(view: &View<'_>) -> DaemonSetStatus {
    let mut status = DaemonSetStatus {
        observed_generation: view.set.metadata.generation,
        collision_count: collisions(view.set),
        conditions: view.set.status.as_ref().and_then(|status| status.conditions.clone()),
        ..DaemonSetStatus::default()
    };
    let (mut updated, mut available) = (0, 0);
    for place in &view.places {
        let Some(pod) = place.pods.iter().find(|pod| !pod.is_terminating()).or_else(|| place.pods.first()) else {
            status.desired_number_scheduled += i32::from(place.fit == Fit::Runs);
            continue;
        };
        if place.fit != Fit::Runs {
            status.number_misscheduled += 1;
            continue;
        }
        status.desired_number_scheduled += 1;
        status.current_number_scheduled += 1;
        let readiness = view.readiness(pod);
        status.number_ready += i32::from(readiness.is_ready());
        available += i32::from(readiness == Readiness::Available);
        updated += i32::from(view.is_current(pod));
    }
    let unavailable = status.desired_number_scheduled - available;
    status.updated_number_scheduled = Some(updated).filter(|&count| count != 0);
    status.number_available = Some(available).filter(|&count| count != 0);
    status.number_unavailable = Some(unavailable).filter(|&count| count != 0);
    status
}

impl View<'_> {
    fn readiness(&self, pod: &Pod) -> Readiness {
        Readiness::of(pod, self.spec.min_ready_seconds.unwrap_or(0), self.now)
    }

    fn is_current(&self, pod: &Pod) -> bool {
        pod.labels().get(REVISION_LABEL).is_some_and(|hash| hash == self.hash)
    }
}

#[cfg(test)]
mod tests;
