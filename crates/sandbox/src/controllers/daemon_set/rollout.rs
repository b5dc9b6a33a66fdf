//! Replacing the pods of an older template, a few nodes at a time.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use super::{Fit, Place, View};
use crate::controllers::{
    deployment::{Rounding, scaled},
    kind::Kind,
    pod::Readiness,
};

/// The pods to delete so that new ones take their place.
pub(super) fn plan_rollout(view: &View<'_>) -> Vec<Arc<Pod>> {
    let strategy = view.spec.update_strategy.clone().unwrap_or_default();
    if strategy.type_.as_deref() == Some("OnDelete") {
        return Vec::new();
    }
    let places: Vec<&Place> = view.places.iter().filter(|place| place.fit == Fit::Runs).collect();
    let limit = strategy.rolling_update.and_then(|limits| limits.max_unavailable);
    let total = i32::try_from(places.len()).unwrap_or(i32::MAX);
    let max_unavailable = limit.map_or(1, |limit| scaled(&limit, total, Rounding::Up)).max(1);
    let mut room = usize::try_from(max_unavailable).unwrap_or_default();
    let mut victims = Vec::new();
    let mut candidates = Vec::new();
    for place in places {
        let serving = place.pods.iter().find(|pod| !pod.is_terminating());
        match serving {
            Some(pod) if view.readiness(pod) == Readiness::Available => {
                if !view.is_current(pod) {
                    candidates.push(Arc::clone(pod));
                }
            }
            other => {
                room = room.saturating_sub(1);
                // An old pod that serves nobody can go at no cost.
                victims.extend(other.filter(|pod| !view.is_current(pod)).cloned());
            }
        }
    }
    victims.extend(candidates.into_iter().take(room));
    victims
}
