//! What one look at a Deployment leads to, by value.

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::*;

fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}})
}

fn deployment(strategy: &str, extra: &Value) -> Deployment {
    let mut object = json!({
        "metadata": {"name": "web", "namespace": "shop", "uid": "d", "generation": 1},
        "spec": {
            "replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": template("new"),
            "strategy": {"type": strategy, "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        },
    });
    object["spec"].as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    serde_json::from_value(object).unwrap()
}

fn set(name: &str, image: &str, wanted: i32, available: i32) -> Arc<ReplicaSet> {
    let object = json!({
        "metadata": {"name": name, "namespace": "shop", "uid": name, "annotations": {
            "deployment.kubernetes.io/revision": "1",
            "deployment.kubernetes.io/desired-replicas": "3",
            "deployment.kubernetes.io/max-replicas": "4",
        }},
        "spec": {"replicas": wanted, "selector": {}, "template": template(image)},
        "status": {"replicas": wanted, "readyReplicas": available, "availableReplicas": available},
    });
    Arc::new(serde_json::from_value(object).unwrap())
}

fn running_pod(owner: &str) -> Arc<Pod> {
    let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": owner, "controller": true});
    let pod = json!({"metadata": {"name": "p", "ownerReferences": [owner]}, "status": {"phase": "Running"}});
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn look(deployment: &Deployment, sets: Vec<Arc<ReplicaSet>>, pods: &[Arc<Pod>]) -> Plan {
    plan(&View::new(deployment, deployment.spec.as_ref().unwrap(), sets, pods, Timestamp::UNIX_EPOCH))
}

/// The kinds, names and sizes written, in order.
fn written(plan: &Plan) -> Vec<String> {
    let describe = |write: &Write| match write {
        Write::Patch { gvr, key, patch, .. } => match patch["spec"]["replicas"].as_i64() {
            Some(size) => format!("{} {} to {size}", gvr.kind, key.name),
            None => format!("{} {}", gvr.kind, key.name),
        },
        Write::Delete { gvr, key, .. } => format!("delete {} {}", gvr.kind, key.name),
        Write::Create { gvr, .. } => format!("create {}", gvr.kind),
    };
    plan.writes.iter().map(describe).collect()
}

#[test]
fn a_new_deployment_gets_a_set_of_full_size_at_once() {
    let plan = look(&deployment("RollingUpdate", &json!({})), vec![], &[]);
    let set = plan.create.as_ref().unwrap();
    assert_eq!(set.spec.as_ref().unwrap().replicas, Some(3));
    assert_eq!(plan.notes, [format!("Scaled up replica set {} from 0 to 3", set.name())]);
    assert_eq!(written(&plan), ["Deployment web"]);
    let progressing = &plan.status.conditions.as_ref().unwrap()[1];
    assert_eq!(progressing.reason.as_deref(), Some("NewReplicaSetCreated"));
    assert_eq!(progressing.message, Some(format!("Created new replica set \"{}\"", set.name())));
}

#[test]
fn another_template_gets_a_set_within_the_surge() {
    let plan = look(&deployment("RollingUpdate", &json!({})), vec![set("a", "old", 3, 3)], &[]);
    assert_eq!(plan.create.unwrap().spec.unwrap().replicas, Some(1));
}

#[test]
fn rolling_back_resizes_and_renumbers_in_one_write() {
    let sets = vec![set("a", "new", 0, 0), set("b", "other", 3, 3)];
    let plan = look(&deployment("RollingUpdate", &json!({})), sets, &[]);
    assert_eq!(written(&plan), ["ReplicaSet a to 1", "Deployment web"]);
    let Write::Patch { patch, .. } = &plan.writes[0] else { panic!() };
    assert_eq!(patch["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "2");
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll_out() {
    let paused = deployment("RollingUpdate", &json!({"paused": true, "replicas": 5}));
    let plan = look(&paused, vec![set("a", "old", 3, 3)], &[]);
    assert_eq!((plan.create.clone(), written(&plan)), (None, vec!["ReplicaSet a to 5".to_owned()]));
}

#[test]
fn recreate_waits_for_the_last_old_pod() {
    let recreate = deployment("Recreate", &json!({}));
    let shrinking = look(&recreate, vec![set("a", "old", 3, 3)], &[running_pod("a")]);
    assert_eq!((shrinking.create.clone(), written(&shrinking)), (None, vec!["ReplicaSet a to 0".to_owned()]));
    let waiting = look(&recreate, vec![set("a", "old", 0, 0)], &[running_pod("a")]);
    assert_eq!((waiting.create.clone(), written(&waiting)), (None, vec![]));
    let done = look(&recreate, vec![set("a", "old", 0, 0)], &[]);
    assert_eq!(done.create.unwrap().spec.unwrap().replicas, Some(3));
}

#[test]
fn a_finished_deployment_is_not_written_again() {
    let mut finished = deployment("RollingUpdate", &json!({}));
    finished.metadata.annotations = Some([("deployment.kubernetes.io/revision".into(), "1".into())].into());
    let mut newest = ReplicaSet::clone(&set("a", "new", 3, 3));
    newest.metadata.annotations.get_or_insert_default();
    let plan = look(&finished, vec![Arc::new(newest)], &[]);
    assert_eq!((written(&plan), plan.next), (vec![], Next::OnChange));
}
