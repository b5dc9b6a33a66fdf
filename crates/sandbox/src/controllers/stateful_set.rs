//! StatefulSets: pods with stable names, made, updated and ended in order.

mod identity;
mod plan;

use apiserver::client::{ClientError, ObjectKey};
use jiff::Timestamp;
use k8s_openapi::api::{apps::v1::StatefulSet, core::v1::Pod};

use self::plan::{Action, Plan, Revision, View};
use super::{
    claim::plan_claim,
    events::Recorder,
    history::History,
    kind::Kind,
    stores::Stores,
    worker::{Next, Reconcile},
    write::{Write, Writer},
};

/// Keeps the pods of StatefulSets.
pub(super) struct StatefulSetController {
    pub(super) stores: Stores,
    pub(super) writer: Writer,
    pub(super) recorder: Recorder,
}

impl Reconcile for StatefulSetController {
    type Key = ObjectKey;
    const NAME: &'static str = "statefulset-controller";

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ClientError> {
        let Some(set) = self.stores.stateful_sets.lookup(key) else { return Ok(Next::OnChange) };
        let Some(spec) = &set.spec else { return Ok(Next::OnChange) };
        let claim = plan_claim(&*set, &spec.selector, self.stores.pods.in_namespace(&key.namespace));
        if !claim.writes.is_empty() {
            self.writer.apply_all(claim.writes).await?;
            return Ok(Next::OnChange);
        }
        let history = History::new(self.stores.revisions.owned_by(set.uid()));
        let collisions = set.status.as_ref().and_then(|status| status.collision_count);
        let update = history.current(&*set, &spec.template, collisions);
        if let Some(write) = update.write.clone().filter(|_| !set.is_terminating()) {
            self.note_revision(&set, write).await?;
        }
        let updated = Revision { name: update.name, template: spec.template.clone() };
        let current = current_revision(&set, &history).unwrap_or_else(|| updated.clone());
        let view = View::new(&set, spec, claim.owned, (&current, &updated), Timestamp::now());
        let plan = plan::plan(&view);
        let used = [current.name.clone(), updated.name.clone()];
        let cleanup = history.plan_cleanup(spec.revision_history_limit, |name| used.iter().any(|used| used == name));
        self.carry_out(&set, plan, cleanup).await
    }
}

impl StatefulSetController {
    async fn note_revision(&self, set: &StatefulSet, write: Write) -> Result<(), ClientError> {
        let written = self.writer.apply(write).await;
        if written.as_ref().is_err_and(ClientError::is_already_exists) {
            let mut updated = set.clone();
            *updated.status.get_or_insert_default().collision_count.get_or_insert_default() += 1;
            if let Some(write) = Write::update_status(set, &updated) {
                self.writer.apply(write).await?;
            }
        }
        written.map(drop)
    }

    async fn carry_out(&self, set: &StatefulSet, plan: Plan, cleanup: Vec<Write>) -> Result<Next, ClientError> {
        let mut outcome = Ok(());
        for action in plan.actions {
            outcome = self.act(set, action).await;
            if outcome.is_err() {
                break;
            }
        }
        let updated = StatefulSet { status: Some(plan.status), ..set.clone() };
        if let Some(write) = Write::update_status(set, &updated) {
            self.writer.apply(write).await?;
        }
        self.writer.apply_all(cleanup).await?;
        outcome.map(|()| plan.next)
    }

    async fn act(&self, set: &StatefulSet, action: Action) -> Result<(), ClientError> {
        match action {
            Action::Create(pod) => {
                let created = self.writer.apply(Write::create(&*pod)).await;
                self.note(set, ("create", "Create"), &pod, created.as_ref().err());
                created.map(drop)
            }
            Action::Delete(pod) => {
                let deleted = self.writer.apply(Write::delete(&*pod)).await;
                self.note(set, ("delete", "Delete"), &pod, deleted.as_ref().err());
                deleted.map(drop)
            }
        }
    }

    fn note(&self, set: &StatefulSet, (verb, title): (&str, &str), pod: &Pod, failure: Option<&ClientError>) {
        let what = format!("{verb} Pod {} in StatefulSet {}", pod.name(), set.name());
        match failure {
            None => self.recorder.normal(set, &format!("Successful{title}"), format!("{what} successful")),
            Some(error) => {
                self.recorder.warning(set, &format!("Failed{title}"), format!("{what} failed error: {error}"));
            }
        }
    }
}

/// The revision pods had before the current rollout began.
fn current_revision(set: &StatefulSet, history: &History) -> Option<Revision> {
    let name = set.status.as_ref()?.current_revision.clone()?;
    let template = history.template(&name)?;
    Some(Revision { name, template })
}

#[cfg(test)]
mod tests;
