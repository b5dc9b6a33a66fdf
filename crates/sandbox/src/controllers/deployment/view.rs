//! A Deployment with its ReplicaSets sorted into the one that is wanted and those of earlier templates.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec, ReplicaSet},
        core::v1::{Pod, PodTemplateSpec},
    },
    apimachinery::pkg::util::intstr::IntOrString,
};

use crate::controllers::kind::Kind;

/// Which ReplicaSet a pod belongs to, as a label of both.
pub(super) const HASH_LABEL: &str = "pod-template-hash";

/// Everything a decision about one Deployment may look at.
pub(super) struct View<'a> {
    pub(super) deployment: &'a Deployment,
    pub(super) spec: &'a DeploymentSpec,
    /// The ReplicaSet of the current template.
    pub(super) new: Option<Arc<ReplicaSet>>,
    /// Those of other templates, oldest first.
    pub(super) old: Vec<Arc<ReplicaSet>>,
    /// All pods of all of them.
    pub(super) pods: &'a [Arc<Pod>],
    pub(super) bounds: Bounds,
    pub(super) now: Timestamp,
}

/// How many pods there should be, and how far a rollout may stray from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) desired: i32,
    pub(super) max_surge: i32,
    pub(super) max_unavailable: i32,
    /// A rolling update, not `Recreate`.
    pub(super) rolling: bool,
}

impl<'a> View<'a> {
    pub(super) fn new(
        deployment: &'a Deployment,
        spec: &'a DeploymentSpec,
        mut owned: Vec<Arc<ReplicaSet>>,
        pods: &'a [Arc<Pod>],
        now: Timestamp,
    ) -> Self {
        owned.sort_by(|a, b| (a.created_at(), a.name()).cmp(&(b.created_at(), b.name())));
        let found = owned.iter().position(|set| has_template(set, &spec.template));
        let new = found.map(|index| owned.remove(index));
        Self { deployment, spec, new, old: owned, pods, bounds: Bounds::of(spec), now }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<ReplicaSet>> {
        self.old.iter().chain(&self.new)
    }

    pub(super) fn is_paused(&self) -> bool {
        self.spec.paused == Some(true)
    }

    /// What `maxSurge` allows in total; none for a Deployment scaled to nothing.
    pub(super) fn max_total(&self) -> i32 {
        if self.bounds.desired == 0 { 0 } else { self.bounds.desired + self.bounds.max_surge }
    }
}

impl Bounds {
    fn of(spec: &DeploymentSpec) -> Self {
        let desired = spec.replicas.unwrap_or(1);
        let strategy = spec.strategy.clone().unwrap_or_default();
        if strategy.type_.as_deref() == Some("Recreate") {
            return Self { desired, max_surge: 0, max_unavailable: 0, rolling: false };
        }
        let limits = strategy.rolling_update.unwrap_or_default();
        let max_surge = limits.max_surge.map_or(0, |limit| scaled(&limit, desired, Rounding::Up));
        let unavailable = limits.max_unavailable.map_or(0, |limit| scaled(&limit, desired, Rounding::Down));
        // A rollout that may neither add nor remove could never begin.
        let unavailable = if max_surge == 0 && unavailable == 0 { 1 } else { unavailable };
        Self { desired, max_surge, max_unavailable: unavailable.min(desired), rolling: true }
    }
}

/// Which way a fraction of a pod goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::controllers) enum Rounding {
    Up,
    Down,
}

/// A limit given as a number or as a percentage of `total`; 0 if it is neither.
pub(in crate::controllers) fn scaled(limit: &IntOrString, total: i32, rounding: Rounding) -> i32 {
    match limit {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or_default();
            let hundredths = percent * i64::from(total);
            let rounded = match rounding {
                Rounding::Up => (hundredths + 99).div_euclid(100),
                Rounding::Down => hundredths.div_euclid(100),
            };
            i32::try_from(rounded).unwrap_or(i32::MAX)
        }
    }
}

/// Pods the ReplicaSet is to have.
pub(super) fn wanted(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// Pods it has.
pub(super) fn actual(set: &ReplicaSet) -> i32 {
    set.status.as_ref().map_or(0, |status| status.replicas)
}

/// Pods of it that are ready.
pub(super) fn ready(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or_default()
}

/// Pods of it that are in service.
pub(super) fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or_default()
}

fn has_template(set: &ReplicaSet, template: &PodTemplateSpec) -> bool {
    let Some(mut own) = set.spec.as_ref().and_then(|spec| spec.template.clone()) else { return false };
    if let Some(labels) = own.metadata.as_mut().and_then(|metadata| metadata.labels.as_mut()) {
        labels.remove(HASH_LABEL);
    }
    own == *template
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn bounds(replicas: i32, strategy: &Value) -> Bounds {
        let spec = json!({"replicas": replicas, "selector": {}, "strategy": strategy, "template": {}});
        Bounds::of(&serde_json::from_value(spec).unwrap())
    }

    fn rolling(surge: &Value, unavailable: &Value) -> Value {
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}})
    }

    #[test]
    fn surge_rounds_up_and_unavailable_rounds_down() {
        let found = bounds(10, &rolling(&json!("25%"), &json!("25%")));
        assert_eq!(found, Bounds { desired: 10, max_surge: 3, max_unavailable: 2, rolling: true });
    }

    #[test]
    fn limits_of_nothing_still_let_one_pod_go() {
        let found = bounds(3, &rolling(&json!(0), &json!("10%")));
        assert_eq!(found, Bounds { desired: 3, max_surge: 0, max_unavailable: 1, rolling: true });
    }

    #[test]
    fn no_more_can_be_unavailable_than_there_are() {
        assert_eq!(bounds(2, &rolling(&json!(1), &json!(5))).max_unavailable, 2);
    }

    #[test]
    fn recreate_has_no_leeway() {
        let found = bounds(3, &json!({"type": "Recreate"}));
        assert_eq!(found, Bounds { desired: 3, max_surge: 0, max_unavailable: 0, rolling: false });
    }
}
