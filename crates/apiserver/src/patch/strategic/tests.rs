mod differ;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::patch::arbitrary::pod;
use crate::schema::Gvk;

const POD: Gvk<'static> = Gvk::new("", "v1", "Pod");
const DEPLOYMENT: Gvk<'static> = Gvk::new("apps", "v1", "Deployment");

/// Patches the spec of a pod.
fn patched(spec: &Value, patch: &Value) -> Value {
    strategic_merge_patch(POD, &json!({ "spec": spec }), &json!({ "spec": patch })).unwrap()["spec"].take()
}

fn refused(spec: &Value, patch: &Value) -> String {
    strategic_merge_patch(POD, &json!({ "spec": spec }), &json!({ "spec": patch })).unwrap_err().to_string()
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect()
}

#[test]
fn maps_merge_and_null_removes() {
    let spec = json!({ "nodeSelector": { "a": "1", "b": "2" }, "nodeName": "n" });
    let patch = json!({ "nodeSelector": { "a": null, "c": "3" }, "nodeName": null, "hostname": null });
    assert_eq!(patched(&spec, &patch), json!({ "nodeSelector": { "b": "2", "c": "3" } }));
}

#[test]
fn lists_merge_by_key_and_what_the_patch_names_comes_first() {
    let spec = json!({ "containers": [{ "name": "a", "image": "1", "tty": true }, { "name": "b" }] });
    let patch = json!({ "containers": [{ "name": "a", "image": "2", "tty": null }, { "name": "c" }] });
    assert_eq!(
        patched(&spec, &patch),
        json!({ "containers": [{ "name": "a", "image": "2" }, { "name": "c" }, { "name": "b" }] })
    );
}

#[test]
fn lists_without_a_merge_strategy_are_replaced() {
    let spec = json!({ "tolerations": [{ "key": "a" }], "containers": [{ "name": "c", "command": ["x", "y"] }] });
    let patch = json!({ "tolerations": [{ "key": "b" }], "containers": [{ "name": "c", "command": ["z"] }] });
    assert_eq!(patched(&spec, &patch), patch);
}

#[test]
fn an_element_is_deleted_by_its_key() {
    let spec = json!({ "containers": [{ "name": "a" }, { "name": "b" }] });
    assert_eq!(
        patched(&spec, &json!({ "containers": [{ "name": "a", "$patch": "delete" }] })),
        json!({ "containers": [{ "name": "b" }] })
    );
    let missing = refused(&spec, &json!({ "containers": [{ "$patch": "delete" }] }));
    assert_eq!(missing, "map: {} does not contain declared merge key: name");
}

#[test]
fn replace_takes_the_patch_as_it_is() {
    let spec = json!({ "containers": [{ "name": "a" }], "securityContext": { "runAsUser": 1, "fsGroup": 2 } });
    let patch = json!({
        "containers": [{ "name": "b", "image": null }, { "$patch": "replace" }],
        "securityContext": { "$patch": "replace", "runAsUser": 3, "fsGroup": null },
    });
    assert_eq!(
        patched(&spec, &patch),
        json!({ "containers": [{ "name": "b" }], "securityContext": { "runAsUser": 3 } })
    );
}

#[test]
fn delete_empties_a_map() {
    let spec = json!({ "securityContext": { "runAsUser": 1 } });
    assert_eq!(patched(&spec, &json!({ "securityContext": { "$patch": "delete" } })), json!({ "securityContext": {} }));
}

#[test]
fn an_unknown_directive_is_refused() {
    assert!(
        refused(&json!({}), &json!({ "securityContext": 1, "$patch": "explode" })).starts_with("unknown patch type")
    );
}

#[test]
fn retained_keys_are_all_that_stays() {
    let before = json!({ "spec": { "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1 } } } });
    let patch = json!({ "spec": { "strategy": { "$retainKeys": ["type"], "type": "Recreate" } } });
    assert_eq!(
        strategic_merge_patch(DEPLOYMENT, &before, &patch).unwrap(),
        json!({ "spec": { "strategy": { "type": "Recreate" } } })
    );
    let contradiction = json!({ "spec": { "strategy": { "$retainKeys": ["type"], "rollingUpdate": {} } } });
    assert_eq!(
        strategic_merge_patch(DEPLOYMENT, &before, &contradiction).unwrap_err().to_string(),
        "invalid patch format of retainKeys list"
    );
}

#[test]
fn a_volume_changes_its_kind_with_retained_keys() {
    let spec = json!({ "volumes": [{ "name": "v", "emptyDir": {} }] });
    let patch =
        json!({ "volumes": [{ "name": "v", "$retainKeys": ["name", "configMap"], "configMap": { "name": "c" } }] });
    assert_eq!(patched(&spec, &patch), json!({ "volumes": [{ "name": "v", "configMap": { "name": "c" } }] }));
}

#[test]
fn the_order_directive_orders_old_and_new_elements() {
    let spec = json!({ "containers": [{ "name": "a" }, { "name": "b" }, { "name": "c" }] });
    let patch = json!({
        "$setElementOrder/containers": [{ "name": "c" }, { "name": "new" }, { "name": "a" }],
        "containers": [{ "name": "new" }],
    });
    assert_eq!(names(&patched(&spec, &patch)["containers"]), ["b", "c", "new", "a"]);
}

#[test]
fn the_order_directive_alone_reorders() {
    let spec = json!({ "containers": [{ "name": "a" }, { "name": "b" }] });
    let patch = json!({ "$setElementOrder/containers": [{ "name": "b" }, { "name": "a" }] });
    assert_eq!(names(&patched(&spec, &patch)["containers"]), ["b", "a"]);
    assert_eq!(patched(&json!({}), &patch), json!({}));
}

#[test]
fn a_patch_list_must_agree_with_its_order() {
    let patch = json!({
        "$setElementOrder/containers": [{ "name": "a" }, { "name": "b" }],
        "containers": [{ "name": "b", "image": "x" }, { "name": "a", "image": "y" }],
    });
    assert!(refused(&json!({}), &patch).starts_with("The order in patch list"));
}

#[test]
fn primitive_lists_merge_as_sets_and_elements_are_deleted_by_value() {
    let meta = json!({ "metadata": { "finalizers": ["a", "b"] } });
    let patch = json!({ "metadata": {
        "$deleteFromPrimitiveList/finalizers": ["a"], "$setElementOrder/finalizers": ["b", "c"], "finalizers": ["c"],
    } });
    assert_eq!(strategic_merge_patch(POD, &meta, &patch).unwrap(), json!({ "metadata": { "finalizers": ["b", "c"] } }));
}

#[test]
fn an_empty_list_merged_with_an_empty_list_is_empty() {
    let meta = json!({ "metadata": { "finalizers": [] } });
    assert_eq!(strategic_merge_patch(POD, &meta, &meta).unwrap(), meta);
}

#[test]
fn a_new_value_brings_no_directives_and_no_nulls() {
    let patch = json!({
        "containers": [{ "name": "a", "$patch": "delete" }, { "name": "b", "image": null }],
        "$setElementOrder/containers": [{ "name": "b" }],
        "securityContext": { "$retainKeys": ["runAsUser"], "runAsUser": 1 },
    });
    assert_eq!(
        patched(&json!({}), &patch),
        json!({ "containers": [{ "name": "b" }], "securityContext": { "runAsUser": 1 } })
    );
}

#[test]
fn custom_resources_have_no_strategic_merge() {
    let gvk = Gvk::new("example.com", "v1", "Thing");
    assert_eq!(strategic_merge_patch(gvk, &json!({}), &json!({})), Err(PatchError::Unsupported));
}

proptest! {
    #[test]
    fn the_difference_of_two_objects_makes_one_of_the_other(before in pod(), after in pod()) {
        let patch = differ::difference(POD, &before, &after);
        prop_assert_eq!(strategic_merge_patch(POD, &before, &patch).unwrap(), after);
    }

    #[test]
    fn a_patch_applied_twice_is_applied_once(before in pod(), other in pod(), after in pod()) {
        let patch = differ::difference(POD, &other, &after);
        let once = strategic_merge_patch(POD, &before, &patch).unwrap();
        prop_assert_eq!(strategic_merge_patch(POD, &once, &patch).unwrap(), once);
    }
}
