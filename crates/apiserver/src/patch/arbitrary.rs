//! Pods for property tests: every sort of field that patches treat differently.

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// A pod without nulls, in normal form apart from what is empty.
pub(super) fn pod() -> impl Strategy<Value = Value> {
    pod_with_lists_of(0)
}

/// The same, with this many elements or more in each list that is merged by a key.
pub(super) fn pod_with_lists_of(least: usize) -> impl Strategy<Value = Value> {
    (
        words(),
        maybe(finalizers()),
        maybe(words()),
        maybe(elements(least, "name", container(least))),
        maybe(tolerations()),
    )
        .prop_map(|(labels, finalizers, node_selector, containers, tolerations)| {
            let metadata = object([("labels", Some(labels)), ("finalizers", finalizers)]);
            let spec =
                object([("nodeSelector", node_selector), ("containers", containers), ("tolerations", tolerations)]);
            json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec })
        })
}

fn container(least: usize) -> impl Strategy<Value = Value> {
    let env = elements(least, "name", maybe(word()).prop_map(|value| object([("value", value)])));
    let ports = elements(least, "containerPort", Just(json!({ "protocol": "TCP" })));
    (maybe(word()), maybe(env), maybe(ports), maybe(vec(word(), 0..3).prop_map(Value::from)), maybe(amounts()))
        .prop_map(|(image, env, ports, command, limits)| {
            let resources = limits.map(|limits| json!({ "limits": limits }));
            object([("image", image), ("env", env), ("ports", ports), ("command", command), ("resources", resources)])
        })
}

/// A list of objects that have different values of `key`, in any order.
fn elements(least: usize, key: &'static str, element: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    let named = btree_map(0_u8..4, element, least..4).prop_map(move |elements| {
        let with_key = |(id, mut element): (u8, Value)| {
            element[key] = if key == "containerPort" { json!(8000 + u16::from(id)) } else { json!(format!("n{id}")) };
            element
        };
        elements.into_iter().map(with_key).collect::<Vec<Value>>()
    });
    named.prop_shuffle().prop_map(Value::from)
}

fn words() -> impl Strategy<Value = Value> {
    btree_map("[a-c]", word(), 0..3).prop_map(|map| Value::Object(map.into_iter().collect()))
}

fn amounts() -> impl Strategy<Value = Value> {
    btree_map("cpu|memory", 1_u8..9, 0..3).prop_map(|map| {
        Value::Object(map.into_iter().map(|(name, amount)| (name, json!(amount.to_string()))).collect())
    })
}

fn finalizers() -> impl Strategy<Value = Value> {
    btree_set("[a-d]", 0..4).prop_map(|set| set.into_iter().collect::<Vec<_>>()).prop_shuffle().prop_map(Value::from)
}

fn tolerations() -> impl Strategy<Value = Value> {
    vec(word().prop_map(|key| json!({ "key": key })), 0..3).prop_map(Value::from)
}

fn word() -> impl Strategy<Value = Value> {
    "[x-z]".prop_map(Value::from)
}

fn maybe(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Option<Value>> {
    prop::option::of(value)
}

fn object<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    let present = members.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    Value::Object(present.collect::<Map<_, _>>())
}
