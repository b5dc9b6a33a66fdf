//! How many pods each ReplicaSet of a Deployment is to have next.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::ReplicaSet;

use super::view::{View, available, wanted};
use crate::controllers::{kind::Kind, pod::has_ended};

/// How many pods a rollout aimed at when it last wrote to this ReplicaSet.
pub(super) const DESIRED_ANNOTATION: &str = "deployment.kubernetes.io/desired-replicas";
/// How many pods there could be at most then.
pub(super) const MAX_ANNOTATION: &str = "deployment.kubernetes.io/max-replicas";

/// A ReplicaSet and the replicas it is to have.
pub(super) type Target = (Arc<ReplicaSet>, i32);

/// The user asked for another number of replicas while some ReplicaSet still aims at the old one.
pub(super) fn is_scaling(view: &View<'_>) -> bool {
    let mut active = view.all().filter(|set| wanted(set) > 0);
    active.any(|set| number(set, DESIRED_ANNOTATION).is_some_and(|desired| desired != view.bounds.desired))
}

/// Brings the number of pods to what is asked for without moving a rollout on.
pub(super) fn plan_scale(view: &View<'_>) -> Vec<Target> {
    if let Some(only) = only_active_or_latest(view) {
        return vec![(only, view.bounds.desired)];
    }
    if is_saturated(view) {
        return active_old(view).map(|set| (Arc::clone(set), 0)).collect();
    }
    if view.bounds.rolling { plan_proportional(view) } else { Vec::new() }
}

/// One step of a rolling update: first the new ReplicaSet grows, then the old ones shrink.
pub(super) fn plan_rolling(view: &View<'_>) -> Vec<Target> {
    let Some(new) = &view.new else { return Vec::new() };
    let grown = rolling_size_of_new(view);
    if grown != wanted(new) {
        return vec![(Arc::clone(new), grown)];
    }
    plan_shrinking_of_old(view, new)
}

/// One step of `Recreate`: the new ReplicaSet grows once the last old pod is gone.
pub(super) fn plan_recreate(view: &View<'_>) -> Vec<Target> {
    let shrinking: Vec<Target> = active_old(view).map(|set| (Arc::clone(set), 0)).collect();
    match &view.new {
        Some(new) if shrinking.is_empty() && wanted(new) != view.bounds.desired => {
            vec![(Arc::clone(new), view.bounds.desired)]
        }
        _ => shrinking,
    }
}

/// Whether pods of earlier templates still run.
pub(super) fn old_pods_run(view: &View<'_>) -> bool {
    let new = view.new.as_ref().map(|set| set.uid());
    let mut old = view.pods.iter().filter(|pod| pod.controller().map(|owner| owner.uid.as_str()) != new);
    old.any(|pod| !has_ended(pod))
}

/// The size the new ReplicaSet may have in a rolling update, be it there already or not.
pub(super) fn rolling_size_of_new(view: &View<'_>) -> i32 {
    let bounds = view.bounds;
    let present = view.new.as_deref().map_or(0, wanted);
    if present >= bounds.desired {
        return bounds.desired;
    }
    let room = bounds.desired + bounds.max_surge - view.all().map(|set| wanted(set)).sum::<i32>();
    present + room.clamp(0, bounds.desired - present)
}

fn plan_shrinking_of_old(view: &View<'_>, new: &ReplicaSet) -> Vec<Target> {
    let min_available = view.bounds.desired - view.bounds.max_unavailable;
    let total: i32 = view.all().map(|set| wanted(set)).sum();
    let unavailable_new = wanted(new) - available(new);
    let allowance = total - min_available - unavailable_new;
    if allowance <= 0 || active_old(view).next().is_none() {
        return Vec::new();
    }
    let mut sizes: Vec<Target> = view.old.iter().map(|set| (Arc::clone(set), wanted(set))).collect();
    remove_unhealthy(&mut sizes, allowance);
    remove_healthy(&mut sizes, view.all().map(|set| available(set)).sum::<i32>() - min_available);
    sizes.retain(|(set, size)| *size != wanted(set));
    sizes
}

/// Pods that serve nobody go first.
fn remove_unhealthy(sizes: &mut [Target], mut allowance: i32) {
    for (set, size) in sizes {
        let removed = (*size - available(set)).clamp(0, allowance.max(0));
        *size -= removed;
        allowance -= removed;
    }
}

fn remove_healthy(sizes: &mut [Target], mut allowance: i32) {
    for (_, size) in sizes {
        let removed = (*size).min(allowance.max(0));
        *size -= removed;
        allowance -= removed;
    }
}

fn active_old<'a>(view: &'a View<'_>) -> impl Iterator<Item = &'a Arc<ReplicaSet>> {
    view.old.iter().filter(|set| wanted(set) > 0)
}

/// The ReplicaSet all scaling goes to, unless several have pods.
fn only_active_or_latest(view: &View<'_>) -> Option<Arc<ReplicaSet>> {
    let active: Vec<_> = view.all().filter(|set| wanted(set) > 0).collect();
    match active[..] {
        [] => view.new.clone().or_else(|| view.old.last().cloned()),
        [only] => Some(Arc::clone(only)),
        _ => None,
    }
}

/// The rollout is complete as far as the new ReplicaSet is concerned.
fn is_saturated(view: &View<'_>) -> bool {
    let desired = view.bounds.desired;
    view.new.as_ref().is_some_and(|new| {
        wanted(new) == desired && number(new, DESIRED_ANNOTATION) == Some(desired) && available(new) == desired
    })
}

/// Spreads the difference over all ReplicaSets with pods in proportion to their sizes.
fn plan_proportional(view: &View<'_>) -> Vec<Target> {
    let mut active: Vec<_> = view.all().filter(|set| wanted(set) > 0).cloned().collect();
    let missing = view.max_total() - active.iter().map(|set| wanted(set)).sum::<i32>();
    // The larger ones first; among equals the newer when growing, the older when shrinking.
    active.sort_by(|a, b| {
        let by_age = a.created_at().cmp(&b.created_at());
        wanted(b).cmp(&wanted(a)).then(if missing > 0 { by_age.reverse() } else { by_age })
    });
    let mut left = missing;
    let mut targets: Vec<Target> = Vec::new();
    for set in active {
        let share = proportion(view, &set).clamp(left.min(0), left.max(0));
        left -= share;
        let size = wanted(&set) + share;
        targets.push((set, size));
    }
    if let Some((_, largest)) = targets.first_mut() {
        *largest = (*largest + left).max(0);
    }
    targets
}

/// What one ReplicaSet gains or loses when all keep their share of the whole.
fn proportion(view: &View<'_>, set: &ReplicaSet) -> i32 {
    if view.bounds.desired == 0 {
        return -wanted(set);
    }
    let before = number(set, MAX_ANNOTATION)
        .or_else(|| view.deployment.status.as_ref().and_then(|status| status.replicas))
        .filter(|&replicas| replicas > 0)
        .unwrap_or(1);
    let grown = i64::from(wanted(set)) * i64::from(view.max_total());
    let rounded = (2 * grown + i64::from(before)).div_euclid(2 * i64::from(before));
    i32::try_from(rounded).unwrap_or(i32::MAX) - wanted(set)
}

/// A number kept in an annotation.
pub(super) fn number(set: &ReplicaSet, annotation: &str) -> Option<i32> {
    set.annotations().get(annotation).and_then(|text| text.parse().ok())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::api::apps::v1::Deployment;
    use serde_json::json;

    use super::*;

    /// name, wanted, available, image
    type Row = (&'static str, i32, i32, &'static str);

    fn sets(rows: &[Row], desired: i32, max: i32) -> Vec<Arc<ReplicaSet>> {
        let set = |(age, &(name, wanted, available, image)): (usize, &Row)| {
            let set = json!({
                "metadata": {
                    "name": name, "uid": name, "creationTimestamp": format!("2026-01-01T00:00:{age:02}Z"),
                    "annotations": {DESIRED_ANNOTATION: desired.to_string(), MAX_ANNOTATION: max.to_string()},
                },
                "spec": {"replicas": wanted, "selector": {}, "template": template(image)},
                "status": {"replicas": wanted, "availableReplicas": available},
            });
            Arc::new(serde_json::from_value(set).unwrap())
        };
        rows.iter().enumerate().map(set).collect()
    }

    fn template(image: &str) -> serde_json::Value {
        json!({"spec": {"containers": [{"name": "c", "image": image}]}})
    }

    fn deployment(replicas: i32, surge: i32, unavailable: i32) -> Deployment {
        let strategy =
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}});
        let spec = json!({"replicas": replicas, "selector": {}, "strategy": strategy, "template": template("new")});
        serde_json::from_value(json!({"metadata": {"name": "web"}, "spec": spec})).unwrap()
    }

    fn sizes(
        deployment: &Deployment,
        sets: Vec<Arc<ReplicaSet>>,
        plan: fn(&View<'_>) -> Vec<Target>,
    ) -> Vec<(String, i32)> {
        let spec = deployment.spec.as_ref().unwrap();
        let view = View::new(deployment, spec, sets, &[], Timestamp::UNIX_EPOCH);
        plan(&view).into_iter().map(|(set, size)| (set.name().to_owned(), size)).collect()
    }

    fn one(name: &str, size: i32) -> Vec<(String, i32)> {
        vec![(name.to_owned(), size)]
    }

    #[test]
    fn new_grows_by_the_surge_first() {
        let sets = sets(&[("a", 10, 10, "old"), ("b", 0, 0, "new")], 10, 13);
        assert_eq!(sizes(&deployment(10, 3, 2), sets, plan_rolling), one("b", 3));
    }

    #[test]
    fn old_shrinks_only_as_far_as_availability_allows() {
        let sets = sets(&[("a", 10, 10, "old"), ("b", 3, 0, "new")], 10, 13);
        assert_eq!(sizes(&deployment(10, 3, 2), sets, plan_rolling), one("a", 8));
    }

    #[test]
    fn old_stays_while_new_is_not_available() {
        let sets = sets(&[("a", 8, 8, "old"), ("b", 5, 0, "new")], 10, 13);
        assert_eq!(sizes(&deployment(10, 3, 2), sets, plan_rolling), []);
    }

    #[test]
    fn broken_old_pods_go_before_healthy_ones() {
        let sets = sets(&[("a", 5, 0, "older"), ("b", 5, 5, "old"), ("c", 3, 3, "new")], 10, 13);
        assert_eq!(sizes(&deployment(10, 3, 2), sets, plan_rolling), one("a", 0));
    }

    #[test]
    fn scaling_a_finished_deployment_goes_to_its_only_active_set() {
        let sets = sets(&[("a", 0, 0, "old"), ("b", 3, 3, "new")], 3, 4);
        assert_eq!(sizes(&deployment(7, 1, 0), sets, plan_scale), one("b", 7));
    }

    #[test]
    fn scaling_in_the_middle_of_a_rollout_keeps_the_proportions() {
        let sets = sets(&[("a", 8, 8, "old"), ("b", 5, 5, "new")], 10, 13);
        let expected = vec![("a".to_owned(), 14), ("b".to_owned(), 9)];
        assert_eq!(sizes(&deployment(20, 3, 2), sets, plan_scale), expected);
    }

    #[test]
    fn scaling_to_nothing_empties_every_set() {
        let sets = sets(&[("a", 8, 8, "old"), ("b", 5, 5, "new")], 10, 13);
        let expected = vec![("a".to_owned(), 0), ("b".to_owned(), 0)];
        assert_eq!(sizes(&deployment(0, 3, 2), sets, plan_scale), expected);
    }

    #[test]
    fn recreate_empties_the_old_before_it_fills_the_new() {
        let before = sets(&[("a", 3, 3, "old"), ("b", 0, 0, "new")], 3, 3);
        assert_eq!(sizes(&deployment(3, 0, 0), before, plan_recreate), one("a", 0));
        let after = sets(&[("a", 0, 0, "old"), ("b", 0, 0, "new")], 3, 3);
        assert_eq!(sizes(&deployment(3, 0, 0), after, plan_recreate), one("b", 3));
    }
}
