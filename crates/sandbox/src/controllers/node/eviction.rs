//! Which pods have to leave a node because of its taints, and when.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Taint, Toleration};

use crate::controllers::{
    kind::Kind,
    placement::{NOT_READY_TAINT, UNREACHABLE_TAINT, untolerated},
};

/// How long a pod that says nothing about it stays on a node that fell silent; what Kubernetes writes into such pods.
const PATIENCE: Duration = Duration::from_secs(300);

/// The pods whose time on the node is over.
pub(super) fn plan_evictions(taints: &[Taint], pods: &[Arc<Pod>], now: Timestamp) -> Vec<Arc<Pod>> {
    let due = |pod: &&Arc<Pod>| !pod.is_terminating() && time_left(taints, pod, now) == Some(Duration::ZERO);
    pods.iter().filter(due).cloned().collect()
}

/// When the next one's time will be over.
pub(super) fn time_to_next(taints: &[Taint], pods: &[Arc<Pod>], now: Timestamp) -> Option<Duration> {
    let staying = pods.iter().filter(|pod| !pod.is_terminating());
    staying.filter_map(|pod| time_left(taints, pod, now)).filter(|left| !left.is_zero()).min()
}

/// How long the pod may stay; nothing if there is no end to it.
fn time_left(taints: &[Taint], pod: &Pod, now: Timestamp) -> Option<Duration> {
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
    let executing = taints.iter().filter(|taint| taint.effect == "NoExecute");
    executing.filter_map(|taint| left_under(taint, tolerations, now)).min()
}

fn left_under(taint: &Taint, tolerations: &[Toleration], now: Timestamp) -> Option<Duration> {
    let alone = std::slice::from_ref(taint);
    let tolerating =
        |toleration: &&Toleration| untolerated(alone, std::slice::from_ref(*toleration), &["NoExecute"]).is_none();
    let mut matching = tolerations.iter().filter(tolerating).peekable();
    let patience = if matching.peek().is_some() {
        let seconds =
            matching.map(|toleration| toleration.toleration_seconds).min_by_key(|seconds| seconds.unwrap_or(i64::MAX));
        Duration::from_secs(u64::try_from(seconds??).unwrap_or_default())
    } else if [NOT_READY_TAINT, UNREACHABLE_TAINT].contains(&taint.key.as_str()) {
        PATIENCE
    } else {
        Duration::ZERO
    };
    let since = taint.time_added.as_ref().map_or(now, |added| added.0);
    let waited = Duration::try_from(now.duration_since(since)).unwrap_or_default();
    Some(patience.saturating_sub(waited))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: &str = "2026-01-01T00:01:00Z";

    fn left(taint: &str, tolerations: &Value) -> Option<Duration> {
        let taint = json!({"key": taint, "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z"});
        let pod = json!({"metadata": {}, "spec": {"containers": [], "tolerations": tolerations}});
        let taints = [serde_json::from_value(taint).unwrap()];
        time_left(&taints, &serde_json::from_value(pod).unwrap(), NOW.parse().unwrap())
    }

    #[test]
    fn a_pod_leaves_at_once_unless_it_tolerates_the_taint() {
        assert_eq!(left("drain", &json!([])), Some(Duration::ZERO));
        assert_eq!(left("drain", &json!([{"operator": "Exists"}])), None);
        let for_a_while = json!([{"key": "drain", "operator": "Exists", "tolerationSeconds": 90}]);
        assert_eq!(left("drain", &for_a_while), Some(Duration::from_secs(30)));
    }

    #[test]
    fn a_silent_node_keeps_its_pods_for_five_minutes() {
        assert_eq!(left(UNREACHABLE_TAINT, &json!([])), Some(Duration::from_secs(240)));
    }

    #[test]
    fn the_shortest_of_several_tolerations_counts() {
        let both = json!([{"operator": "Exists"}, {"key": "drain", "operator": "Exists", "tolerationSeconds": 70}]);
        assert_eq!(left("drain", &both), Some(Duration::from_secs(10)));
    }
}
