//! Which pods go first when there are too many.

use std::{cmp::Reverse, collections::HashMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use crate::controllers::{
    kind::Kind,
    pod::{condition, is_ready, node_name, phase},
};

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The pods whose loss matters least, in the order Kubernetes documents.
pub(super) fn choose_victims(pods: &[Arc<Pod>], count: usize, now: Timestamp) -> Vec<Arc<Pod>> {
    if count == 0 {
        return Vec::new();
    }
    let mut per_node: HashMap<Option<&str>, usize> = HashMap::new();
    for pod in pods {
        *per_node.entry(node_name(pod)).or_default() += 1;
    }
    let mut ranked: Vec<&Arc<Pod>> = pods.iter().collect();
    ranked.sort_by_cached_key(|pod| {
        let crowd = per_node.get(&node_name(pod)).copied().unwrap_or_default();
        worth(pod, crowd, now)
    });
    ranked.into_iter().take(count).cloned().collect()
}

/// Sorts pods by what their loss costs: unbound ones, pending ones, unready ones, cheap ones, those on crowded nodes,
/// those in service only for a short while, often restarted ones and young ones first.
fn worth(pod: &Pod, crowd: usize, now: Timestamp) -> impl Ord + use<> {
    let phase_rank = match phase(pod) {
        "Pending" => 0,
        "Unknown" => 1,
        _ => 2,
    };
    let cost: i32 = pod.annotations().get(DELETION_COST).and_then(|cost| cost.parse().ok()).unwrap_or_default();
    let ready_since = condition(pod, "Ready").and_then(|ready| ready.last_transition_time.as_ref());
    (
        node_name(pod).is_some(),
        phase_rank,
        is_ready(pod),
        cost,
        Reverse(crowd),
        ready_since.map_or(0, |since| magnitude(since.0, now)),
        Reverse(restarts(pod)),
        magnitude(pod.created_at(), now),
        Reverse(pod.created_at().as_second()),
    )
}

/// Ages of the same magnitude count as equal.
fn magnitude(since: Timestamp, now: Timestamp) -> u32 {
    let seconds = now.as_second().saturating_sub(since.as_second());
    u64::try_from(seconds).ok().and_then(u64::checked_ilog2).map_or(0, |log| log + 1)
}

fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
    statuses.iter().map(|status| status.restart_count).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: &str = "2026-01-02T00:00:00Z";

    fn pod(name: &str, node: Option<&str>, ready: bool, change: impl Fn(&mut Value)) -> Arc<Pod> {
        let ready = json!({
            "type": "Ready", "status": if ready { "True" } else { "False" },
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        });
        let mut object = json!({
            "metadata": {"name": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"containers": [], "nodeName": node},
            "status": {"phase": if node.is_some() { "Running" } else { "Pending" }, "conditions": [ready]},
        });
        change(&mut object);
        Arc::new(serde_json::from_value(object).unwrap())
    }

    fn order(pods: &[Arc<Pod>]) -> Vec<&str> {
        let now = NOW.parse().unwrap();
        let order = choose_victims(pods, pods.len(), now);
        order.iter().map(|victim| pods.iter().find(|pod| Arc::ptr_eq(pod, victim)).unwrap().name()).collect()
    }

    #[test]
    fn unbound_then_unready_then_cheap_pods_go_first() {
        let cheap = |pod: &mut Value| pod["metadata"]["annotations"] = json!({DELETION_COST: "-5"});
        let pods = [
            pod("serving", Some("n1"), true, |_| {}),
            pod("cheap", Some("n2"), true, cheap),
            pod("unready", Some("n3"), false, |_| {}),
            pod("unbound", None, false, |_| {}),
        ];
        assert_eq!(order(&pods), ["unbound", "unready", "cheap", "serving"]);
    }

    #[test]
    fn pods_on_the_fullest_node_go_before_lonely_ones() {
        let pods = [
            pod("alone", Some("n1"), true, |_| {}),
            pod("crowd-a", Some("n2"), true, |_| {}),
            pod("crowd-b", Some("n2"), true, |_| {}),
        ];
        assert_eq!(order(&pods)[2], "alone");
    }

    #[test]
    fn young_pods_go_before_old_ones() {
        let young = |pod: &mut Value| {
            pod["metadata"]["creationTimestamp"] = json!("2026-01-01T23:59:00Z");
            pod["status"]["conditions"][0]["lastTransitionTime"] = json!("2026-01-01T23:59:10Z");
        };
        let pods = [pod("old", Some("n1"), true, |_| {}), pod("young", Some("n2"), true, young)];
        assert_eq!(order(&pods), ["young", "old"]);
    }
}
