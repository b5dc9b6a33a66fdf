//! Puts a configuration over an object, and takes fields out of one.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::place::{Identity, Place, Rule};
use crate::patch::fields::{FieldSet, PathElement};

/// The object with what the configuration sets; `null` takes a member away.
pub(super) fn merge(place: Place, live: &Value, config: &Value) -> Value {
    match (place.rule(config), live, config) {
        (Rule::Members, Value::Object(live), Value::Object(config)) => {
            Value::Object(merge_members(place, live, config))
        }
        (Rule::Items(identity), Value::Array(live), Value::Array(config)) => {
            Value::Array(merge_items(place, identity, live, config))
        }
        (Rule::Members, _, Value::Object(config)) => Value::Object(merge_members(place, &Map::new(), config)),
        _ => config.clone(),
    }
}

fn merge_members(place: Place, live: &Map<String, Value>, config: &Map<String, Value>) -> Map<String, Value> {
    let mut merged = live.clone();
    for (key, value) in config {
        if value.is_null() {
            merged.shift_remove(key);
        } else {
            let member = merge(place.member(key), live.get(key).unwrap_or(&Value::Null), value);
            merged.insert(key.clone(), member);
        }
    }
    merged
}

/// The elements of both lists, merged where both have one. The configuration's order is kept; what only the live list
/// has keeps its place before the elements it stood before.
fn merge_items(place: Place, identity: Identity, live: &[Value], config: &[Value]) -> Vec<Value> {
    let wanted: BTreeMap<PathElement, &Value> = config.iter().map(|item| (identity.of(item), item)).collect();
    let mut current: BTreeMap<PathElement, &Value> = BTreeMap::new();
    for item in live {
        current.entry(identity.of(item)).or_insert(item);
    }
    let mut merged = Vec::with_capacity(live.len() + config.len());
    let mut rest = live.iter().peekable();
    for item in config {
        let element = identity.of(item);
        // What only the live list has goes first, up to the next element that both have.
        while let Some(other) = rest.next_if(|other| !wanted.contains_key(&identity.of(other))) {
            merged.push(other.clone());
        }
        rest.next_if(|other| identity.of(other) == element);
        let before = current.get(&element).copied().unwrap_or(&Value::Null);
        merged.push(merge(place.item(), before, item));
    }
    merged.extend(rest.filter(|other| !wanted.contains_key(&identity.of(other))).cloned());
    merged
}

/// The object without the fields of a set.
pub(super) fn without(place: Place, value: &Value, fields: &FieldSet) -> Value {
    match (place.rule(value), value) {
        (Rule::Members, Value::Object(members)) => {
            let kept = members.iter().filter_map(|(key, member)| {
                let member = keep(place.member(key), member, fields, &PathElement::field(key))?;
                Some((key.clone(), member))
            });
            Value::Object(kept.collect())
        }
        (Rule::Items(identity), Value::Array(items)) => {
            items.iter().filter_map(|item| keep(place.item(), item, fields, &identity.of(item))).collect()
        }
        _ => value.clone(),
    }
}

fn keep(place: Place, value: &Value, fields: &FieldSet, element: &PathElement) -> Option<Value> {
    if fields.has(element) {
        return None;
    }
    Some(fields.below(element).map_or_else(|| value.clone(), |below| without(place, value, below)))
}

/// The set with the named fields on the way to its paths added, `spec` for `spec.replicas`: what has lost all its
/// fields may then go with them.
pub(super) fn with_named_fields(place: Place, fields: &FieldSet) -> FieldSet {
    let mut all = fields.clone();
    for element in fields.elements() {
        let Some(below) = fields.below(element) else { continue };
        let inner = match element {
            PathElement::Field(name) => {
                if place.declares(name) {
                    all.insert_element(element.clone());
                }
                place.member(name)
            }
            _ => place.item(),
        };
        all.extend_below(element.clone(), &with_named_fields(inner, below));
    }
    all
}
