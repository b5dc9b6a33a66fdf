//! What one look at a StatefulSet leads to, by value.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;

fn set(replicas: i32, extra: &Value) -> StatefulSet {
    let mut object = json!({
        "metadata": {"name": "db", "namespace": "shop", "uid": "s", "generation": 2},
        "spec": {"replicas": replicas, "serviceName": "data", "selector": {}, "template": {}},
    });
    object["spec"].as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    serde_json::from_value(object).unwrap()
}

/// A pod of an ordinal, with its state as a letter: `h`ealthy, `u`nready, `t`erminating, `f`ailed.
fn pod(ordinal: i32, revision: &str, state: char) -> Arc<Pod> {
    let ready = json!({"type": "Ready", "status": if state == 'u' { "False" } else { "True" }});
    let mut object = json!({
        "metadata": {"name": format!("db-{ordinal}"), "labels": {"controller-revision-hash": revision}},
        "status": {"phase": if state == 'f' { "Failed" } else { "Running" }, "conditions": [ready]},
    });
    if state == 't' {
        object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    }
    Arc::new(serde_json::from_value(object).unwrap())
}

fn look(set: &StatefulSet, pods: &[Arc<Pod>]) -> Plan {
    let revision = |name: &str| Revision { name: name.to_owned(), template: Default::default() };
    let (old, new) = (revision("old"), revision("new"));
    let spec = set.spec.as_ref().unwrap();
    plan::plan(&View::new(set, spec, pods.to_vec(), (&old, &new), Timestamp::UNIX_EPOCH))
}

fn steps(set: &StatefulSet, pods: &[Arc<Pod>]) -> Vec<String> {
    let describe = |action: &Action| match action {
        Action::Create(pod) => format!("create {} {}", pod.name(), pod.labels()["controller-revision-hash"]),
        Action::Delete(pod) => format!("delete {}", pod.name()),
    };
    look(set, pods).actions.iter().map(describe).collect()
}

#[test]
fn pods_are_made_one_after_the_other() {
    let set = set(3, &json!({}));
    assert_eq!(steps(&set, &[]), ["create db-0 new"]);
    assert_eq!(steps(&set, &[pod(0, "new", 'u')]), Vec::<String>::new());
    assert_eq!(steps(&set, &[pod(0, "new", 'h')]), ["create db-1 new"]);
}

#[test]
fn parallel_pods_are_made_at_once() {
    let parallel = set(2, &json!({"podManagementPolicy": "Parallel"}));
    assert_eq!(steps(&parallel, &[]), ["create db-0 new", "create db-1 new"]);
}

#[test]
fn pods_are_ended_from_the_last_on_and_only_when_the_rest_is_healthy() {
    let set = set(1, &json!({}));
    let all = [pod(0, "new", 'h'), pod(1, "new", 'h'), pod(2, "new", 'h')];
    assert_eq!(steps(&set, &all), ["delete db-2"]);
    let leaving = [pod(0, "new", 'h'), pod(1, "new", 'h'), pod(2, "new", 't')];
    assert_eq!(steps(&set, &leaving), Vec::<String>::new());
    assert_eq!(steps(&set, &[pod(0, "new", 'u'), pod(1, "new", 'h')]), Vec::<String>::new());
}

#[test]
fn a_failed_pod_is_replaced_under_its_name() {
    assert_eq!(steps(&set(2, &json!({})), &[pod(0, "new", 'f'), pod(1, "new", 'h')]), ["delete db-0"]);
}

#[test]
fn an_update_goes_from_the_last_pod_to_the_partition() {
    let set = set(3, &json!({"updateStrategy": {"rollingUpdate": {"partition": 1}}}));
    let pods = |states: [(&str, char); 3]| {
        let pods = states.iter().zip(0..).map(|(&(revision, state), ordinal)| pod(ordinal, revision, state));
        pods.collect::<Vec<_>>()
    };
    assert_eq!(steps(&set, &pods([("old", 'h'), ("old", 'h'), ("old", 'h')])), ["delete db-2"]);
    assert_eq!(steps(&set, &pods([("old", 'h'), ("old", 'h'), ("new", 'u')])), Vec::<String>::new());
    assert_eq!(steps(&set, &pods([("old", 'h'), ("old", 'h'), ("new", 'h')])), ["delete db-1"]);
    assert_eq!(steps(&set, &pods([("old", 'h'), ("new", 'h'), ("new", 'h')])), Vec::<String>::new());
    assert_eq!(steps(&set, &[pod(1, "new", 'h'), pod(2, "new", 'h')]), ["create db-0 old"]);
}

#[test]
fn on_delete_waits_for_somebody_to_delete() {
    let set = set(1, &json!({"updateStrategy": {"type": "OnDelete"}}));
    assert_eq!(steps(&set, &[pod(0, "old", 'h')]), Vec::<String>::new());
    assert_eq!(steps(&set, &[]), ["create db-0 new"]);
}

#[test]
fn a_finished_update_makes_the_new_revision_the_current_one() {
    let half = look(&set(2, &json!({})), &[pod(0, "old", 'h'), pod(1, "new", 'h')]).status;
    assert_eq!((half.current_revision.as_deref(), half.current_replicas), (Some("old"), Some(1)));
    let done = look(&set(2, &json!({})), &[pod(0, "new", 'h'), pod(1, "new", 'h')]).status;
    assert_eq!((done.current_revision.as_deref(), done.current_replicas), (Some("new"), Some(2)));
    assert_eq!((done.replicas, done.ready_replicas, done.observed_generation), (2, Some(2), Some(2)));
}

#[test]
fn a_pod_carries_its_name_everywhere_it_is_looked_for() {
    let plan = look(&set(1, &json!({"ordinals": {"start": 5}})), &[]);
    let Action::Create(pod) = &plan.actions[0] else { panic!() };
    let spec = pod.spec.as_ref().unwrap();
    assert_eq!((pod.name(), spec.hostname.as_deref(), spec.subdomain.as_deref()), ("db-5", Some("db-5"), Some("data")));
    assert_eq!(pod.labels()["statefulset.kubernetes.io/pod-name"], "db-5");
    assert_eq!(pod.labels()["apps.kubernetes.io/pod-index"], "5");
}
