//! What one look at a DaemonSet leads to, by value.

use serde_json::{Value, json};

use super::*;

const NOW: &str = "2026-01-01T00:01:00Z";

fn set(strategy: &Value) -> DaemonSet {
    let object = json!({
        "metadata": {"name": "agent", "namespace": "sys", "uid": "d", "generation": 3},
        "spec": {"selector": {}, "template": {"spec": {"containers": []}}, "updateStrategy": strategy},
    });
    serde_json::from_value(object).unwrap()
}

fn nodes(names: &[&str]) -> Vec<Arc<Node>> {
    names.iter().map(|name| Arc::new(serde_json::from_value(json!({"metadata": {"name": name}})).unwrap())).collect()
}

/// A pod called like its node.
fn pod(node: &str, hash: &str, phase: &str, ready: bool) -> Arc<Pod> {
    let ready = json!({"type": "Ready", "status": if ready { "True" } else { "False" }, "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let object = json!({
        "metadata": {"name": node, "labels": {REVISION_LABEL: hash}, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"containers": [], "nodeName": node},
        "status": {"phase": phase, "conditions": [ready]},
    });
    Arc::new(serde_json::from_value(object).unwrap())
}

fn terminating(pod: &Pod) -> Arc<Pod> {
    let mut pod = pod.clone();
    pod.metadata.deletion_timestamp = pod.metadata.creation_timestamp.clone();
    Arc::new(pod)
}

fn look(set: &DaemonSet, nodes: &[Arc<Node>], pods: &[Arc<Pod>]) -> Plan {
    let spec = set.spec.as_ref().unwrap();
    plan(&View { set, spec, hash: "new", places: place_pods(nodes, pods, spec), now: NOW.parse().unwrap() })
}

fn targets(pods: &[Pod]) -> Vec<&str> {
    pods.iter().filter_map(target_node).collect()
}

fn names(pods: &[Arc<Pod>]) -> Vec<&str> {
    pods.iter().map(|pod| pod.name()).collect()
}

#[test]
fn every_node_without_a_pod_gets_one() {
    let plan = look(&set(&json!({})), &nodes(&["a", "b", "c"]), &[pod("b", "new", "Running", true)]);
    assert_eq!((targets(&plan.create), names(&plan.delete)), (vec!["a", "c"], vec![]));
    let expected = DaemonSetStatus {
        observed_generation: Some(3),
        desired_number_scheduled: 3,
        current_number_scheduled: 1,
        number_ready: 1,
        number_available: Some(1),
        number_unavailable: Some(2),
        updated_number_scheduled: Some(1),
        ..DaemonSetStatus::default()
    };
    assert_eq!(plan.status, expected);
}

#[test]
fn a_second_pod_on_a_node_goes() {
    let mut second = Pod::clone(&pod("a", "new", "Running", true));
    second.metadata.name = Some("second".into());
    let plan = look(&set(&json!({})), &nodes(&["a"]), &[pod("a", "new", "Running", true), Arc::new(second)]);
    assert_eq!((targets(&plan.create), names(&plan.delete)), (vec![], vec!["second"]));
}

#[test]
fn a_pod_that_has_ended_is_replaced() {
    let plan = look(&set(&json!({})), &nodes(&["a"]), &[pod("a", "new", "Failed", false)]);
    assert_eq!((targets(&plan.create), names(&plan.delete)), (vec![], vec!["a"]));
}

#[test]
fn a_node_waits_until_its_old_pod_is_gone() {
    let leaving = terminating(&pod("a", "old", "Running", true));
    let plan = look(&set(&json!({})), &nodes(&["a"]), &[leaving]);
    assert_eq!((targets(&plan.create), names(&plan.delete)), (vec![], vec![]));
}

#[test]
fn a_rollout_replaces_one_serving_pod_at_a_time_and_broken_ones_at_once() {
    let pods = [pod("a", "old", "Running", true), pod("b", "old", "Running", true), pod("c", "new", "Running", true)];
    assert_eq!(names(&look(&set(&json!({})), &nodes(&["a", "b", "c"]), &pods).delete), ["a"]);
    let pods = [pod("a", "old", "Running", true), pod("b", "old", "Running", false), pod("c", "old", "Running", true)];
    assert_eq!(names(&look(&set(&json!({})), &nodes(&["a", "b", "c"]), &pods).delete), ["b"]);
}

#[test]
fn a_rollout_waits_for_the_new_pod_to_serve() {
    let pods = [pod("a", "old", "Running", true), pod("b", "new", "Running", false)];
    assert_eq!(names(&look(&set(&json!({})), &nodes(&["a", "b"]), &pods).delete), Vec::<&str>::new());
    let two = json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 2}});
    assert_eq!(names(&look(&set(&two), &nodes(&["a", "b"]), &pods).delete), ["a"]);
}

#[test]
fn on_delete_leaves_old_pods_alone() {
    let pods = [pod("a", "old", "Running", true)];
    let plan = look(&set(&json!({"type": "OnDelete"})), &nodes(&["a"]), &pods);
    assert_eq!((names(&plan.delete), plan.status.updated_number_scheduled), (vec![], None));
}
