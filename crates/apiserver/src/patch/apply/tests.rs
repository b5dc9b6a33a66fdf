use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::patch::arbitrary::{pod, pod_with_lists_of};
use crate::schema::Gvk;

const DEPLOYMENT: Gvk<'static> = Gvk::new("apps", "v1", "Deployment");
const CONFIG_MAP: Gvk<'static> = Gvk::new("", "v1", "ConfigMap");
const SERVICE: Gvk<'static> = Gvk::new("", "v1", "Service");

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn by(manager: &str, second: i64) -> Writer<'_> {
    Writer { manager, subresource: None, now: at(second) }
}

fn applied(gvk: Gvk<'_>, live: Option<&Value>, config: &Value, manager: &str, second: i64) -> Value {
    apply_patch(gvk, live, config, &by(manager, second), false).unwrap()
}

fn conflict(gvk: Gvk<'_>, live: &Value, config: &Value, manager: &str) -> ApplyError {
    apply_patch(gvk, Some(live), config, &by(manager, 9), false).unwrap_err()
}

/// The fields of a manager.
fn fields(object: &Value, manager: &str) -> Value {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    entries.iter().find(|entry| entry["manager"] == manager).map_or(Value::Null, |entry| entry["fieldsV1"].clone())
}

fn data(entries: &Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "c" }, "data": entries })
}

#[test]
fn an_applier_owns_what_it_sets_and_nothing_else() {
    let config = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web", "labels": { "app": "web" } },
        "spec": { "replicas": 2, "selector": { "matchLabels": { "app": "web" } }, "template": { "spec": { "containers": [
            { "name": "c", "image": "x", "ports": [{ "containerPort": 80 }], "args": ["a"] }] } } },
    });
    let object = applied(DEPLOYMENT, None, &config, "ci", 0);
    assert_eq!(
        object["metadata"]["managedFields"],
        json!([{
            "manager": "ci", "operation": "Apply", "apiVersion": "apps/v1", "time": "1970-01-01T00:00:00Z",
            "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:metadata": { "f:labels": { "f:app": {} } },
                "f:spec": { "f:replicas": {}, "f:selector": {}, "f:template": { "f:spec": { "f:containers": {
                    "k:{\"name\":\"c\"}": {
                        ".": {}, "f:args": {}, "f:image": {}, "f:name": {},
                        "f:ports": { "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": { ".": {}, "f:containerPort": {} } },
                    },
                } } } },
            },
        }])
    );
}

#[test]
fn applying_the_same_again_changes_nothing() {
    let config = data(&json!({ "a": "1" }));
    let once = applied(CONFIG_MAP, None, &config, "ci", 0);
    assert_eq!(applied(CONFIG_MAP, Some(&once), &config, "ci", 60), once);
}

#[test]
fn a_field_no_longer_applied_goes() {
    let before = applied(CONFIG_MAP, None, &data(&json!({ "a": "1", "b": "2" })), "ci", 0);
    let after = applied(CONFIG_MAP, Some(&before), &data(&json!({ "a": "1" })), "ci", 60);
    assert_eq!(after["data"], json!({ "a": "1" }));
    let emptied = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "c" } });
    assert_eq!(applied(CONFIG_MAP, Some(&after), &emptied, "ci", 60).get("data"), None);
}

#[test]
fn a_field_someone_else_owns_too_stays() {
    let one = applied(CONFIG_MAP, None, &data(&json!({ "a": "1", "b": "2" })), "one", 0);
    let both = applied(CONFIG_MAP, Some(&one), &data(&json!({ "b": "2" })), "two", 1);
    let after = applied(CONFIG_MAP, Some(&both), &data(&json!({ "a": "1" })), "one", 2);
    assert_eq!(after["data"], json!({ "a": "1", "b": "2" }));
    assert_eq!(fields(&after, "one"), json!({ "f:data": { "f:a": {} } }));
}

#[test]
fn a_field_nobody_owns_stays() {
    let mut object = applied(CONFIG_MAP, None, &data(&json!({ "a": "1", "b": "2" })), "ci", 0);
    object["data"]["default"] = json!("x");
    let after = applied(CONFIG_MAP, Some(&object), &data(&json!({ "a": "1" })), "ci", 1);
    assert_eq!(after["data"], json!({ "a": "1", "default": "x" }));
}

#[test]
fn one_conflict_is_worded_as_kubernetes_does() {
    let live = applied(CONFIG_MAP, None, &data(&json!({ "a": "1" })), "one", 0);
    let ApplyError::Conflict { message, causes } = conflict(CONFIG_MAP, &live, &data(&json!({ "a": "2" })), "two")
    else {
        panic!("not a conflict");
    };
    assert_eq!(message, r#"Apply failed with 1 conflict: conflict with "one": .data.a"#);
    assert_eq!(
        causes,
        [crate::StatusCause {
            reason: "FieldManagerConflict".into(),
            message: r#"conflict with "one""#.into(),
            field: Some(".data.a".into()),
        }]
    );
}

#[test]
fn several_conflicts_are_listed_by_manager() {
    let mut live = data(&json!({ "a": "1", "b": "2" }));
    track_update(CONFIG_MAP, None, &mut live, &by("kubectl-create", 0));
    let refused = conflict(CONFIG_MAP, &live, &data(&json!({ "a": "x", "b": "y" })), "ci");
    assert_eq!(
        refused.to_string(),
        "Apply failed with 2 conflicts: conflicts with \"kubectl-create\" using v1:\n- .data.a\n- .data.b"
    );
}

#[test]
fn force_takes_the_field_over() {
    let live = applied(CONFIG_MAP, None, &data(&json!({ "a": "1", "b": "2" })), "one", 0);
    let after = apply_patch(CONFIG_MAP, Some(&live), &data(&json!({ "a": "9" })), &by("two", 1), true).unwrap();
    assert_eq!(after["data"], json!({ "a": "9", "b": "2" }));
    assert_eq!(fields(&after, "one"), json!({ "f:data": { "f:b": {} } }));
    assert_eq!(fields(&after, "two"), json!({ "f:data": { "f:a": {} } }));
}

#[test]
fn equal_values_are_owned_together() {
    let one = applied(CONFIG_MAP, None, &data(&json!({ "a": "1" })), "one", 0);
    let both = applied(CONFIG_MAP, Some(&one), &data(&json!({ "a": "1" })), "two", 1);
    assert_eq!(fields(&both, "one"), fields(&both, "two"));
}

#[test]
fn list_elements_are_owned_one_by_one() {
    let service = |ports: Value| json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "s" }, "spec": { "ports": ports } });
    let one = applied(SERVICE, None, &service(json!([{ "port": 80, "name": "http" }])), "one", 0);
    let both =
        applied(SERVICE, Some(&one), &service(json!([{ "port": 443, "protocol": "TCP", "name": "https" }])), "two", 1);
    assert_eq!(
        both["spec"]["ports"],
        json!([{ "port": 80, "name": "http" }, { "port": 443, "protocol": "TCP", "name": "https" }])
    );
    let gone = applied(SERVICE, Some(&both), &service(json!([])), "one", 2);
    assert_eq!(gone["spec"]["ports"], json!([{ "port": 443, "protocol": "TCP", "name": "https" }]));
}

#[test]
fn a_default_key_is_the_same_element() {
    let service = |port: Value| json!({ "metadata": { "name": "s" }, "spec": { "ports": [port] } });
    let live = service(json!({ "port": 80, "protocol": "TCP", "targetPort": 8080 }));
    let merged = applied(SERVICE, Some(&live), &service(json!({ "port": 80, "name": "http" })), "ci", 0);
    assert_eq!(merged["spec"]["ports"], json!([{ "port": 80, "protocol": "TCP", "targetPort": 8080, "name": "http" }]));
}

#[test]
fn applied_elements_keep_their_order_and_others_their_place() {
    let list = |names: &[&str]| {
        let containers: Vec<Value> = names.iter().map(|name| json!({ "name": name })).collect();
        json!({ "spec": { "template": { "spec": { "containers": containers } } } })
    };
    let order = |live: &[&str], config: &[&str]| {
        let merged = merge(Place::root(DEPLOYMENT.into()), &list(live), &list(config));
        let containers = merged["spec"]["template"]["spec"]["containers"].as_array().cloned().unwrap();
        containers.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(order(&["a"], &["b"]), ["a", "b"]);
    assert_eq!(order(&["a", "b"], &["b", "a"]), ["b", "a"]);
    assert_eq!(order(&["a", "x", "b"], &["a", "new", "b"]), ["a", "x", "new", "b"]);
    assert_eq!(order(&["x", "a", "y"], &["a"]), ["x", "a", "y"]);
}

#[test]
fn an_object_without_a_record_belongs_to_before_first_apply() {
    let live = data(&json!({ "a": "1", "b": "2" }));
    let after = applied(CONFIG_MAP, Some(&live), &data(&json!({ "a": "1" })), "ci", 0);
    assert_eq!(fields(&after, "before-first-apply"), json!({ "f:data": { ".": {}, "f:a": {}, "f:b": {} } }));
    let refused = conflict(CONFIG_MAP, &live, &data(&json!({ "a": "2" })), "ci");
    assert!(refused.to_string().contains("conflict with \"before-first-apply\" using v1"));
}

#[test]
fn a_configuration_may_not_bring_its_own_record() {
    let config = json!({ "metadata": { "name": "c", "managedFields": [] } });
    assert_eq!(
        apply_patch(CONFIG_MAP, None, &config, &by("ci", 0), false),
        Err(ApplyError::Invalid { why: "metadata.managedFields must be nil".into() })
    );
}

/// A config map as client-side apply leaves it.
fn client_side(entries: &Value) -> Value {
    let mut object = data(entries);
    let annotation = format!("{object}\n");
    object["metadata"]["annotations"] = json!({ "kubectl.kubernetes.io/last-applied-configuration": annotation });
    track_update(CONFIG_MAP, None, &mut object, &by("kubectl-client-side-apply", 0));
    object
}

#[test]
fn kubectl_inherits_what_it_applied_on_the_client_side() {
    let live = client_side(&json!({ "a": "1", "b": "2" }));
    let after = applied(CONFIG_MAP, Some(&live), &data(&json!({ "a": "9", "b": "2" })), "kubectl", 1);
    assert_eq!(after["data"]["a"], "9");
    assert_eq!(
        after["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"],
        format!("{}\n", data(&json!({ "a": "9", "b": "2" })))
    );
    conflict(CONFIG_MAP, &live, &data(&json!({ "a": "9" })), "ci");
}

#[test]
fn kubectl_does_not_inherit_what_others_changed_since() {
    let live = client_side(&json!({ "a": "1", "b": "2" }));
    let mut changed = live.clone();
    changed["data"]["a"] = json!("x");
    track_update(CONFIG_MAP, Some(&live), &mut changed, &by("someone", 1));
    let refused = conflict(CONFIG_MAP, &changed, &data(&json!({ "a": "9", "b": "8" })), "kubectl");
    assert_eq!(refused.to_string(), "Apply failed with 1 conflict: conflict with \"someone\" using v1: .data.a");
}

#[test]
fn what_cannot_be_owned_cannot_be_applied() {
    let refused = |config: Value| apply_patch(DEPLOYMENT, None, &config, &by("ci", 0), true).unwrap_err().to_string();
    let containers = |containers: Value| json!({ "metadata": { "name": "web", "namespace": "shop" }, "spec": { "template": { "spec": { "containers": containers } } } });
    let object = "failed to create typed patch object (shop/web; apps/v1, Kind=Deployment)";
    assert_eq!(
        refused(containers(json!([{ "name": "c", "imagee": "x" }]))),
        format!("{object}: .spec.template.spec.containers[name=\"c\"].imagee: field not declared in schema")
    );
    assert_eq!(
        refused(containers(json!([{ "name": "c" }, { "name": "c", "foo": 1 }]))),
        format!(
            "{object}: errors:\n  .spec.template.spec.containers: duplicate entries for key [name=\"c\"]\n  \
             .spec.template.spec.containers[name=\"c\"].foo: field not declared in schema"
        )
    );
    assert!(refused(containers(json!({}))).starts_with(object));
}

#[test]
fn a_zero_that_is_not_printed_is_no_conflict() {
    let config = |host_network: bool| json!({ "metadata": { "name": "p" }, "spec": { "hostNetwork": host_network } });
    let pod = Gvk::new("", "v1", "Pod");
    let one = applied(pod, None, &config(false), "one", 0);
    assert_eq!(one["spec"].get("hostNetwork"), None);
    applied(pod, Some(&one), &config(false), "two", 1);
    let on = apply_patch(pod, Some(&one), &config(true), &by("two", 1), true).unwrap();
    let off = apply_patch(pod, Some(&on), &config(false), &by("one", 2), true).unwrap();
    assert_eq!((&on["spec"]["hostNetwork"], off["spec"].get("hostNetwork")), (&json!(true), None));
}

#[test]
fn a_create_owns_what_kubernetes_records_for_it() {
    let mut object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web", "labels": { "app": "web" } },
        "spec": {
            "replicas": 1, "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1 } },
            "template": { "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [{ "name": "c", "image": "x" }] } },
        },
        "status": { "replicas": 1 },
    });
    track_update(DEPLOYMENT, None, &mut object, &by("kubectl-create", 0));
    assert_eq!(
        fields(&object, "kubectl-create"),
        json!({
            "f:metadata": { "f:labels": { ".": {}, "f:app": {} } },
            "f:spec": {
                "f:replicas": {},
                "f:strategy": { "f:rollingUpdate": { ".": {}, "f:maxSurge": {} }, "f:type": {} },
                "f:template": {
                    "f:metadata": { "f:labels": { ".": {}, "f:app": {} } },
                    "f:spec": { "f:containers": { "k:{\"name\":\"c\"}": { ".": {}, "f:image": {}, "f:name": {} } } },
                },
            },
        })
    );
}

#[test]
fn a_writer_takes_what_it_changes_and_time_moves_only_then() {
    let mut first = data(&json!({ "a": "1", "b": "2" }));
    track_update(CONFIG_MAP, None, &mut first, &by("one", 0));
    let mut second = first.clone();
    second["data"]["b"] = json!("3");
    track_update(CONFIG_MAP, Some(&first), &mut second, &by("two", 60));
    assert_eq!(fields(&second, "one"), json!({ "f:data": { ".": {}, "f:a": {} } }));
    assert_eq!(fields(&second, "two"), json!({ "f:data": { "f:b": {} } }));

    let mut third = second.clone();
    track_update(CONFIG_MAP, Some(&second), &mut third, &by("two", 120));
    assert_eq!(third, second);
}

#[test]
fn a_removed_field_belongs_to_nobody() {
    let mut first = data(&json!({ "a": "1", "b": "2" }));
    track_update(CONFIG_MAP, None, &mut first, &by("one", 0));
    let mut second = data(&json!({ "a": "1" }));
    track_update(CONFIG_MAP, Some(&first), &mut second, &by("two", 60));
    assert_eq!(fields(&second, "one"), json!({ "f:data": { ".": {}, "f:a": {} } }));
    assert_eq!(fields(&second, "two"), Value::Null);
}

#[test]
fn status_belongs_to_its_subresource() {
    let mut first = json!({ "metadata": { "name": "web" }, "spec": { "replicas": 1 } });
    track_update(DEPLOYMENT, None, &mut first, &by("one", 0));
    let mut second = first.clone();
    second["status"] = json!({ "replicas": 1 });
    let controller = Writer { manager: "controller", subresource: Some("status"), now: at(1) };
    track_update(DEPLOYMENT, Some(&first), &mut second, &controller);
    let entry = &second["metadata"]["managedFields"][1];
    assert_eq!(entry["subresource"], "status");
    assert_eq!(entry["fieldsV1"], json!({ "f:status": { "f:replicas": {} } }));
}

#[test]
fn one_empty_entry_clears_the_record() {
    let mut first = data(&json!({ "a": "1" }));
    track_update(CONFIG_MAP, None, &mut first, &by("one", 0));
    let mut cleared = first.clone();
    cleared["metadata"]["managedFields"] = json!([{}]);
    track_update(CONFIG_MAP, Some(&first), &mut cleared, &by("two", 1));
    assert_eq!(cleared, data(&json!({ "a": "1" })));
}

#[test]
fn the_oldest_writers_are_summed_up() {
    let mut object = data(&json!({}));
    track_update(CONFIG_MAP, None, &mut object, &by("w0", 0));
    for number in 1..=12 {
        let before = object.clone();
        object["data"][format!("k{number}")] = json!("x");
        track_update(CONFIG_MAP, Some(&before), &mut object, &by(&format!("w{number}"), number));
    }
    assert_eq!(object["metadata"]["managedFields"].as_array().unwrap().len(), MAX_WRITERS);
    assert_ne!(fields(&object, "ancient-changes"), Value::Null);
    assert_eq!(fields(&object, "w12"), json!({ "f:data": { "f:k12": {} } }));
}

const MAX_WRITERS: usize = 10;
const POD: Gvk<'static> = Gvk::new("", "v1", "Pod");

/// A stored pod: written by someone, in normal form.
fn stored(mut pod: Value) -> Value {
    schema::normalize(POD, &mut pod);
    track_update(POD, None, &mut pod, &by("writer", 0));
    pod
}

/// The object without its record.
fn unmanaged(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.shift_remove("managedFields");
    }
    object
}

fn forced(live: &Value, config: &Value, manager: &str, second: i64) -> Value {
    apply_patch(POD, Some(live), config, &by(manager, second), true).unwrap()
}

proptest! {
    #[test]
    fn any_configuration_applied_twice_is_applied_once(live in pod(), config in pod()) {
        let once = forced(&stored(live), &config, "ci", 1);
        prop_assert_eq!(forced(&once, &config, "ci", 2), once);
    }

    #[test]
    fn what_was_applied_is_in_the_object(live in pod(), config in pod()) {
        let object = forced(&stored(live), &config, "ci", 1);
        let again = merge(Place::root(POD.into()), &object, &config);
        prop_assert_eq!(unmanaged(&normal(again)), unmanaged(&object));
    }

    #[test]
    fn applying_nothing_takes_back_what_only_the_applier_owned(first in pod_with_lists_of(1)) {
        let nothing = json!({ "apiVersion": "v1", "kind": "Pod" });
        let applied = apply_patch(POD, None, &first, &by("ci", 0), false).unwrap();
        prop_assert_eq!(normal(forced(&applied, &nothing, "ci", 1)), nothing);
    }

    #[test]
    fn two_appliers_of_one_configuration_never_conflict(config in pod()) {
        let one = apply_patch(POD, None, &config, &by("one", 0), false).unwrap();
        let both = apply_patch(POD, Some(&one), &config, &by("two", 1), false).unwrap();
        prop_assert_eq!(unmanaged(&both), unmanaged(&one));
        prop_assert_eq!(fields(&both, "one"), fields(&both, "two"));
    }

    #[test]
    fn a_write_that_changes_nothing_changes_no_record(object in pod()) {
        let stored = stored(object);
        let mut again = stored.clone();
        track_update(POD, Some(&stored), &mut again, &by("other", 60));
        prop_assert_eq!(again, stored);
    }
}

fn normal(mut object: Value) -> Value {
    schema::normalize(POD, &mut object);
    object
}
