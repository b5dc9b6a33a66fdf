//! ReplicaSets: as many pods of a template as asked for.

mod victims;

use std::sync::Arc;

use apiserver::client::{ClientError, ObjectKey};
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetSpec, ReplicaSetStatus},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};

use self::victims::choose_victims;
use super::{
    claim::plan_claim,
    kind::Kind,
    pod::{Readiness, from_template, is_active},
    pod_control::PodControl,
    selector::contains,
    stores::Stores,
    worker::{Next, Reconcile},
    write::Write,
};

/// Pods made or removed in one look; the rest follows in the next.
const BURST: usize = 500;
const REPLICA_FAILURE: &str = "ReplicaFailure";

/// Keeps the pods of ReplicaSets as many as they should be.
pub(super) struct ReplicaSetController {
    pub(super) stores: Stores,
    pub(super) pods: PodControl,
}

/// What one look at a ReplicaSet leads to.
#[derive(Debug, PartialEq)]
struct Plan {
    create: usize,
    delete: Vec<Arc<Pod>>,
}

impl Reconcile for ReplicaSetController {
    type Key = ObjectKey;
    const NAME: &'static str = "replicaset-controller";

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ClientError> {
        let Some(set) = self.stores.replica_sets.lookup(key) else { return Ok(Next::OnChange) };
        let Some(spec) = &set.spec else { return Ok(Next::OnChange) };
        let claim = plan_claim(&*set, &spec.selector, self.stores.pods.in_namespace(&key.namespace));
        if !claim.writes.is_empty() {
            self.pods.writer.apply_all(claim.writes).await?;
            return Ok(Next::OnChange);
        }
        let active: Vec<Arc<Pod>> = claim.owned.into_iter().filter(|pod| is_active(pod)).collect();
        let outcome = if set.is_terminating() { Ok(()) } else { self.resize(&set, spec, &active).await };
        let (status, next) = plan_status(&set, spec, &active, outcome.as_ref().err(), Timestamp::now());
        let updated = ReplicaSet { status: Some(status), ..ReplicaSet::clone(&set) };
        if let Some(write) = Write::update_status(&*set, &updated) {
            self.pods.writer.apply(write).await?;
        }
        outcome.map(|()| next)
    }
}

impl ReplicaSetController {
    async fn resize(&self, set: &ReplicaSet, spec: &ReplicaSetSpec, active: &[Arc<Pod>]) -> Result<(), ClientError> {
        let Some(template) = &spec.template else { return Ok(()) };
        let plan = plan(spec, active, Timestamp::now());
        let pod = from_template(template, set.namespace(), set.controller_reference());
        self.pods.create_all(set, vec![pod; plan.create]).await?;
        self.pods.delete_all(set, &plan.delete).await
    }
}

fn plan(spec: &ReplicaSetSpec, active: &[Arc<Pod>], now: Timestamp) -> Plan {
    let wanted = usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or_default();
    let surplus = active.len().saturating_sub(wanted).min(BURST);
    Plan { create: wanted.saturating_sub(active.len()).min(BURST), delete: choose_victims(active, surplus, now) }
}

fn plan_status(
    set: &ReplicaSet,
    spec: &ReplicaSetSpec,
    active: &[Arc<Pod>],
    failure: Option<&ClientError>,
    now: Timestamp,
) -> (ReplicaSetStatus, Next) {
    let min_ready = spec.min_ready_seconds.unwrap_or(0);
    let readiness: Vec<Readiness> = active.iter().map(|pod| Readiness::of(pod, min_ready, now)).collect();
    let template = spec.template.as_ref().and_then(|template| template.metadata.as_ref());
    let labels = template.and_then(|metadata| metadata.labels.clone()).unwrap_or_default();
    let before = set.status.clone().unwrap_or_default();
    let status = ReplicaSetStatus {
        observed_generation: set.metadata.generation,
        replicas: count(active.len()),
        fully_labeled_replicas: non_zero(active.iter().filter(|pod| contains(pod.labels(), &labels)).count()),
        ready_replicas: non_zero(readiness.iter().filter(|readiness| readiness.is_ready()).count()),
        available_replicas: non_zero(readiness.iter().filter(|&&readiness| readiness == Readiness::Available).count()),
        conditions: conditions(before.conditions.unwrap_or_default(), failure, now),
        terminating_replicas: None,
    };
    (status, Next::soonest(readiness.iter().filter_map(|readiness| readiness.wait())))
}

fn conditions(
    mut known: Vec<ReplicaSetCondition>,
    failure: Option<&ClientError>,
    now: Timestamp,
) -> Option<Vec<ReplicaSetCondition>> {
    match failure {
        None => known.retain(|condition| condition.type_ != REPLICA_FAILURE),
        Some(_) if known.iter().any(|condition| condition.type_ == REPLICA_FAILURE) => {}
        Some(error) => known.push(ReplicaSetCondition {
            type_: REPLICA_FAILURE.to_owned(),
            status: "True".to_owned(),
            reason: Some("FailedCreate".to_owned()),
            message: Some(error.to_string()),
            last_transition_time: Some(Time(now)),
        }),
    }
    Some(known).filter(|conditions| !conditions.is_empty())
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// Counts of nothing are left out, as Kubernetes leaves them out.
fn non_zero(number: usize) -> Option<i32> {
    Some(count(number)).filter(|&count| count != 0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn spec(replicas: i32, min_ready_seconds: i32) -> ReplicaSetSpec {
        let template = json!({"metadata": {"labels": {"app": "web"}}});
        let spec =
            json!({"replicas": replicas, "minReadySeconds": min_ready_seconds, "selector": {}, "template": template});
        serde_json::from_value(spec).unwrap()
    }

    fn pod(name: &str, ready_since: Option<&str>) -> Arc<Pod> {
        let status = if ready_since.is_some() { "True" } else { "False" };
        let ready = json!({"type": "Ready", "status": status, "lastTransitionTime": ready_since});
        let pod = json!({
            "metadata": {"name": name, "labels": {"app": "web"}},
            "status": {"phase": "Running", "conditions": [ready]},
        });
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn missing_pods_are_made_and_surplus_pods_removed() {
        let pods = [pod("a", Some("2026-01-01T00:00:00Z")), pod("b", None)];
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(plan(&spec(5, 0), &pods, now), Plan { create: 3, delete: vec![] });
        assert_eq!(plan(&spec(2, 0), &pods, now), Plan { create: 0, delete: vec![] });
        assert_eq!(plan(&spec(1, 0), &pods, now), Plan { create: 0, delete: vec![Arc::clone(&pods[1])] });
    }

    #[test]
    fn status_counts_pods_and_asks_for_a_look_when_one_becomes_available() {
        let pods = [pod("a", Some("2026-01-01T00:00:00Z")), pod("b", Some("2026-01-01T00:00:07Z")), pod("c", None)];
        let now = "2026-01-01T00:00:10Z".parse().unwrap();
        let (status, next) = plan_status(&ReplicaSet::default(), &spec(3, 5), &pods, None, now);
        let expected = ReplicaSetStatus {
            replicas: 3,
            fully_labeled_replicas: Some(3),
            ready_replicas: Some(2),
            available_replicas: Some(1),
            ..ReplicaSetStatus::default()
        };
        assert_eq!((status, next), (expected, Next::After(Duration::from_secs(2))));
    }
}
