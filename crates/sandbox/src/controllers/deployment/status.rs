//! The status of a Deployment: counts, and conditions in Kubernetes' words.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus},
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::view::{View, actual, available, ready};
use crate::controllers::{kind::Kind, worker::Next};

/// How long a rollout may stand still unless the Deployment says otherwise; the API server's default.
const DEFAULT_DEADLINE_SECONDS: i32 = 600;
const PROGRESSING: &str = "Progressing";
const AVAILABLE: &str = "Available";
const REPLICA_FAILURE: &str = "ReplicaFailure";

/// What a reconcile did with the current ReplicaSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Its rollout goes on.
    Rollout,
    /// It was made just now, under this name.
    Created(String),
    /// Only the number of pods is adjusted, or nothing at all while paused.
    Scale,
}

/// The status as it should be after this reconcile.
pub(super) fn plan_status(view: &View<'_>, step: &Step) -> DeploymentStatus {
    let mut conditions = view.deployment.status.clone().unwrap_or_default().conditions.unwrap_or_default();
    let mut status = count(view);
    set(&mut conditions, availability(view, &status), view.now);
    note_pause(view, &mut conditions);
    match step {
        Step::Scale => {}
        Step::Created(name) => {
            let message = format!("Created new replica set \"{name}\"");
            set(&mut conditions, condition(PROGRESSING, "True", "NewReplicaSetCreated", message), view.now);
        }
        Step::Rollout => {
            note_progress(view, &status, &mut conditions);
            note_failure(view, &mut conditions);
        }
    }
    status.conditions = Some(conditions);
    status
}

/// When the deadline of a rollout that is under way will have passed.
pub(super) fn next_look(view: &View<'_>, status: &DeploymentStatus) -> Next {
    let Some(progressing) = find(status.conditions.as_deref().unwrap_or_default(), PROGRESSING) else {
        return Next::OnChange;
    };
    let settled = matches!(progressing.reason.as_deref(), Some("ProgressDeadlineExceeded" | "NewReplicaSetAvailable"));
    let (false, Some(since)) = (settled || view.is_paused(), progressing.last_update_time.as_ref()) else {
        return Next::OnChange;
    };
    let left =
        deadline(view) - Duration::try_from(view.now.duration_since(since.0)).unwrap_or_default().min(deadline(view));
    Next::After(left + Duration::from_secs(1))
}

/// Every pod is of the current template and in service, and no other is left.
pub(super) fn is_complete(view: &View<'_>, status: &DeploymentStatus) -> bool {
    let desired = Some(view.bounds.desired).filter(|&desired| desired != 0);
    status.updated_replicas == desired && status.replicas == desired && status.available_replicas == desired
}

fn count(view: &View<'_>) -> DeploymentStatus {
    let replicas: i32 = view.all().map(|set| actual(set)).sum();
    let available: i32 = view.all().map(|set| available(set)).sum();
    let before = view.deployment.status.as_ref();
    DeploymentStatus {
        observed_generation: view.deployment.metadata.generation,
        replicas: non_zero(replicas),
        updated_replicas: non_zero(view.new.as_deref().map_or(0, actual)),
        ready_replicas: non_zero(view.all().map(|set| ready(set)).sum()),
        available_replicas: non_zero(available),
        unavailable_replicas: non_zero((replicas - available).max(0)),
        collision_count: before.and_then(|status| status.collision_count),
        conditions: None,
        terminating_replicas: None,
    }
}

fn availability(view: &View<'_>, status: &DeploymentStatus) -> DeploymentCondition {
    let minimum = view.bounds.desired - view.bounds.max_unavailable;
    if status.available_replicas.unwrap_or(0) >= minimum {
        let message = "Deployment has minimum availability.".to_owned();
        return condition(AVAILABLE, "True", "MinimumReplicasAvailable", message);
    }
    let message = "Deployment does not have minimum availability.".to_owned();
    condition(AVAILABLE, "False", "MinimumReplicasUnavailable", message)
}

fn note_pause(view: &View<'_>, conditions: &mut Vec<DeploymentCondition>) {
    let reason = find(conditions, PROGRESSING).and_then(|condition| condition.reason.as_deref());
    if reason == Some("ProgressDeadlineExceeded") {
        return;
    }
    let was_paused = reason == Some("DeploymentPaused");
    if view.is_paused() && !was_paused {
        let paused = condition(PROGRESSING, "Unknown", "DeploymentPaused", "Deployment is paused".to_owned());
        set(conditions, paused, view.now);
    } else if !view.is_paused() && was_paused {
        let resumed = condition(PROGRESSING, "Unknown", "DeploymentResumed", "Deployment is resumed".to_owned());
        set(conditions, resumed, view.now);
    }
}

fn note_progress(view: &View<'_>, status: &DeploymentStatus, conditions: &mut Vec<DeploymentCondition>) {
    let current = find(conditions, PROGRESSING).cloned();
    let was_available = current.as_ref().is_some_and(|known| known.reason.as_deref() == Some("NewReplicaSetAvailable"));
    if was_available && status.replicas == status.updated_replicas {
        // A finished rollout stays finished, whatever happens to its pods later.
        return;
    }
    let subject = subject(view);
    if is_complete(view, status) {
        let message = format!("{subject} has successfully progressed.");
        set(conditions, condition(PROGRESSING, "True", "NewReplicaSetAvailable", message), view.now);
    } else if has_progressed(view.deployment, status) {
        let mut progress = condition(PROGRESSING, "True", "ReplicaSetUpdated", format!("{subject} is progressing."));
        let kept = current.filter(|known| known.status == "True").and_then(|known| known.last_transition_time);
        stamp(&mut progress, kept, view.now);
        conditions.retain(|known| known.type_ != PROGRESSING);
        conditions.push(progress);
    } else if is_overdue(view, current.as_ref()) {
        let message = format!("{subject} has timed out progressing.");
        set(conditions, condition(PROGRESSING, "False", "ProgressDeadlineExceeded", message), view.now);
    }
}

/// Copies the trouble of a ReplicaSet that cannot make its pods.
fn note_failure(view: &View<'_>, conditions: &mut Vec<DeploymentCondition>) {
    let failures = view.new.iter().chain(&view.old).filter_map(|set| {
        let known = set.status.as_ref()?.conditions.as_deref()?;
        known.iter().find(|condition| condition.type_ == REPLICA_FAILURE && condition.status == "True")
    });
    match failures.into_iter().next() {
        None => conditions.retain(|known| known.type_ != REPLICA_FAILURE),
        Some(failure) => {
            let reason = failure.reason.clone().unwrap_or_default();
            let message = failure.message.clone().unwrap_or_default();
            set(conditions, condition(REPLICA_FAILURE, "True", &reason, message), view.now);
        }
    }
}

fn subject(view: &View<'_>) -> String {
    match &view.new {
        Some(new) => format!("ReplicaSet \"{}\"", new.name()),
        None => format!("Deployment \"{}\"", view.deployment.name()),
    }
}

fn has_progressed(deployment: &Deployment, now: &DeploymentStatus) -> bool {
    let before = deployment.status.clone().unwrap_or_default();
    let old = |status: &DeploymentStatus| status.replicas.unwrap_or(0) - status.updated_replicas.unwrap_or(0);
    now.updated_replicas > before.updated_replicas
        || old(now) < old(&before)
        || now.ready_replicas > before.ready_replicas
        || now.available_replicas > before.available_replicas
}

fn is_overdue(view: &View<'_>, progressing: Option<&DeploymentCondition>) -> bool {
    let Some(progressing) = progressing else { return false };
    if progressing.reason.as_deref() == Some("ProgressDeadlineExceeded") {
        return true;
    }
    let since = progressing.last_update_time.as_ref().map_or(view.now, |time| time.0);
    Duration::try_from(view.now.duration_since(since)).is_ok_and(|waited| waited > deadline(view))
}

fn deadline(view: &View<'_>) -> Duration {
    let seconds = view.spec.progress_deadline_seconds.unwrap_or(DEFAULT_DEADLINE_SECONDS);
    Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}

fn condition(kind: &str, status: &str, reason: &str, message: String) -> DeploymentCondition {
    DeploymentCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_update_time: None,
        last_transition_time: None,
    }
}

/// Puts a condition in place unless the same is said already; an unchanged status keeps its transition time.
fn set(conditions: &mut Vec<DeploymentCondition>, mut wanted: DeploymentCondition, now: Timestamp) {
    let known = find(conditions, &wanted.type_);
    if known.is_some_and(|known| known.status == wanted.status && known.reason == wanted.reason) {
        return;
    }
    let kept = known.filter(|known| known.status == wanted.status).and_then(|known| known.last_transition_time.clone());
    stamp(&mut wanted, kept, now);
    conditions.retain(|known| known.type_ != wanted.type_);
    conditions.push(wanted);
}

fn stamp(condition: &mut DeploymentCondition, last_transition: Option<Time>, now: Timestamp) {
    condition.last_update_time = Some(Time(now));
    condition.last_transition_time = Some(last_transition.unwrap_or(Time(now)));
}

fn find<'a>(conditions: &'a [DeploymentCondition], kind: &str) -> Option<&'a DeploymentCondition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}

/// Counts of nothing are left out, as Kubernetes leaves them out.
fn non_zero(count: i32) -> Option<i32> {
    Some(count).filter(|&count| count != 0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::api::apps::v1::ReplicaSet;
    use serde_json::{Value, json};

    use super::*;

    const START: &str = "2026-01-01T00:00:00Z";

    fn status_at(now: &str, before: &Value, new: (i32, i32), paused: bool, step: &Step) -> (DeploymentStatus, Next) {
        let template = json!({"spec": {"containers": []}});
        let deployment: Deployment = serde_json::from_value(json!({
            "metadata": {"name": "web", "generation": 4},
            "spec": {
                "replicas": 3, "progressDeadlineSeconds": 60, "paused": paused, "selector": {}, "template": template,
                "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            },
            "status": before,
        }))
        .unwrap();
        let set: ReplicaSet = serde_json::from_value(json!({
            "metadata": {"name": "web-1", "uid": "s"},
            "spec": {"replicas": 3, "selector": {}, "template": template},
            "status": {"replicas": new.0, "readyReplicas": new.1, "availableReplicas": new.1},
        }))
        .unwrap();
        let spec = deployment.spec.as_ref().unwrap();
        let view = View::new(&deployment, spec, vec![Arc::new(set)], &[], now.parse().unwrap());
        let status = plan_status(&view, step);
        let next = next_look(&view, &status);
        (status, next)
    }

    fn said(status: &DeploymentStatus) -> Vec<(String, String, String)> {
        let conditions = status.conditions.iter().flatten();
        let said = conditions.map(|c| (c.type_.clone(), c.status.clone(), c.reason.clone().unwrap_or_default()));
        said.collect()
    }

    fn says(conditions: &[(&str, &str, &str)]) -> Vec<(String, String, String)> {
        conditions.iter().map(|(kind, status, reason)| ((*kind).into(), (*status).into(), (*reason).into())).collect()
    }

    fn progressing(since: &str) -> Value {
        json!({"replicas": 3, "updatedReplicas": 3, "conditions": [{
            "type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated",
            "lastUpdateTime": since, "lastTransitionTime": since,
        }]})
    }

    #[test]
    fn a_deployment_with_all_pods_in_service_is_complete() {
        let (status, next) = status_at("2026-01-01T00:00:09Z", &progressing(START), (3, 3), false, &Step::Rollout);
        let expected =
            [("Available", "True", "MinimumReplicasAvailable"), ("Progressing", "True", "NewReplicaSetAvailable")];
        assert_eq!(said(&status), says(&expected));
        let progressing = &status.conditions.as_ref().unwrap()[1];
        assert_eq!(progressing.message.as_deref(), Some("ReplicaSet \"web-1\" has successfully progressed."));
        assert_eq!(progressing.last_transition_time, Some(Time(START.parse().unwrap())));
        assert_eq!((status.observed_generation, status.unavailable_replicas), (Some(4), None));
        assert_eq!(next, Next::OnChange);
    }

    #[test]
    fn a_rollout_that_stands_still_is_looked_at_again_and_then_times_out() {
        let (_, next) = status_at("2026-01-01T00:00:20Z", &progressing(START), (3, 0), false, &Step::Rollout);
        assert_eq!(next, Next::After(Duration::from_secs(41)));
        let (status, next) = status_at("2026-01-01T00:01:01Z", &progressing(START), (3, 0), false, &Step::Rollout);
        let expected = [
            ("Available", "False", "MinimumReplicasUnavailable"),
            ("Progressing", "False", "ProgressDeadlineExceeded"),
        ];
        assert_eq!(said(&status), says(&expected));
        assert_eq!(next, Next::OnChange);
    }

    #[test]
    fn one_more_ready_pod_is_progress_and_starts_the_deadline_anew() {
        let now = "2026-01-01T00:00:50Z";
        let (status, next) = status_at(now, &progressing(START), (3, 1), false, &Step::Rollout);
        let progressing = &status.conditions.as_ref().unwrap()[1];
        assert_eq!(progressing.last_update_time, Some(Time(now.parse().unwrap())));
        assert_eq!(progressing.last_transition_time, Some(Time(START.parse().unwrap())));
        assert_eq!(next, Next::After(Duration::from_secs(61)));
    }

    #[test]
    fn pausing_is_said_and_has_no_deadline() {
        let (status, next) = status_at("2026-01-01T00:09:00Z", &progressing(START), (3, 0), true, &Step::Scale);
        let expected =
            [("Available", "False", "MinimumReplicasUnavailable"), ("Progressing", "Unknown", "DeploymentPaused")];
        assert_eq!(said(&status), says(&expected));
        assert_eq!(next, Next::OnChange);
    }

    #[test]
    fn a_finished_rollout_stays_finished_when_a_pod_fails_later() {
        let before = json!({"replicas": 3, "updatedReplicas": 3, "conditions": [{
            "type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable", "lastUpdateTime": START,
        }]});
        let (status, _) = status_at("2026-01-01T05:00:00Z", &before, (3, 2), false, &Step::Rollout);
        assert_eq!(said(&status)[0], says(&[("Progressing", "True", "NewReplicaSetAvailable")])[0]);
    }
}
