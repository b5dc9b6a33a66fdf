//! How far a DaemonSet or a Deployment is.

use serde_json::Value;

/// How much of a workload is as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rollout {
    /// Pods of the newest kind that are ready.
    pub ready: u64,
    /// Pods there should be.
    pub wanted: u64,
    /// Whether nothing is left to wait for.
    pub is_done: bool,
}

/// The rollout as the object's status tells it.
pub fn rollout_of(workload: &Value) -> Rollout {
    let status = &workload["status"];
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    // A status of an older generation speaks of other pods.
    let is_current = number(&status["observedGeneration"]) >= number(&workload["metadata"]["generation"]);
    let (wanted, updated, ready, total) = if workload["kind"] == "DaemonSet" {
        let wanted = number(&status["desiredNumberScheduled"]);
        (wanted, number(&status["updatedNumberScheduled"]), number(&status["numberReady"]), wanted)
    } else {
        let wanted = number(&workload["spec"]["replicas"]);
        (wanted, number(&status["updatedReplicas"]), number(&status["readyReplicas"]), number(&status["replicas"]))
    };
    let is_done = is_current && updated == wanted && ready == wanted && total == wanted;
    Rollout { ready: if is_current { ready.min(updated) } else { 0 }, wanted, is_done }
}

/// Why a pod is not ready, if it is not.
pub fn reason_of(pod: &Value) -> Option<String> {
    let status = &pod["status"];
    let conditions = || status["conditions"].as_array().into_iter().flatten();
    if conditions().any(|condition| condition["type"] == "Ready" && condition["status"] == "True") {
        return None;
    }
    let containers = || status["containerStatuses"].as_array().into_iter().flatten();
    let waiting = containers().map(|container| &container["state"]["waiting"]).find(|waiting| waiting.is_object());
    let ended = containers().flat_map(|container| [&container["state"], &container["lastState"]]);
    let last_words = ended.filter_map(|state| state["terminated"]["message"].as_str()).next();
    let blocked = conditions().find(|condition| condition["type"] == "PodScheduled" && condition["status"] == "False");
    let told = waiting.or(blocked).map(|told| {
        let text = |field: &str| told[field].as_str().unwrap_or_default();
        format!("{} {}", text("reason"), text("message")).trim().to_owned()
    });
    let told = told.unwrap_or_else(|| "running, not ready".to_owned());
    Some(last_words.map_or_else(|| told.clone(), |words| format!("{told}; it ended with: {}", words.trim())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn daemon_set(observed: u64, updated: u64, ready: u64) -> Value {
        json!({
            "kind": "DaemonSet",
            "metadata": { "generation": 2 },
            "status": {
                "observedGeneration": observed, "desiredNumberScheduled": 3,
                "updatedNumberScheduled": updated, "numberReady": ready,
            },
        })
    }

    #[test]
    fn a_daemon_set_is_done_when_every_node_has_the_new_pod_ready() {
        assert_eq!(rollout_of(&daemon_set(2, 3, 3)), Rollout { ready: 3, wanted: 3, is_done: true });
        assert_eq!(rollout_of(&daemon_set(2, 1, 3)), Rollout { ready: 1, wanted: 3, is_done: false });
        assert_eq!(rollout_of(&daemon_set(1, 3, 3)), Rollout { ready: 0, wanted: 3, is_done: false }, "old news");
    }

    #[test]
    fn a_deployment_is_done_when_the_old_pods_are_gone_too() {
        let deployment = |total: u64| {
            json!({
                "kind": "Deployment",
                "metadata": { "generation": 1 },
                "spec": { "replicas": 2 },
                "status": { "observedGeneration": 1, "replicas": total, "updatedReplicas": 2, "readyReplicas": 2 },
            })
        };
        assert!(!rollout_of(&deployment(3)).is_done);
        assert!(rollout_of(&deployment(2)).is_done);
    }

    #[test]
    fn a_pod_that_is_not_ready_says_why() {
        let pod = |status: Value| reason_of(&json!({ "status": status }));
        assert_eq!(pod(json!({ "conditions": [{ "type": "Ready", "status": "True" }] })), None);
        let waiting = json!({ "reason": "ErrImagePull", "message": "no such image" });
        let pulling = json!({ "containerStatuses": [{ "state": { "waiting": waiting } }] });
        assert_eq!(pod(pulling).as_deref(), Some("ErrImagePull no such image"));
        let full = json!([{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "full" }]);
        assert_eq!(pod(json!({ "conditions": full })).as_deref(), Some("Unschedulable full"));
        assert_eq!(pod(json!({})).as_deref(), Some("running, not ready"));
    }
}
