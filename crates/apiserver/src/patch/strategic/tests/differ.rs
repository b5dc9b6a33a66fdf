//! The difference of two objects as a strategic merge patch, as kubectl would send it.

use serde_json::{Map, Value, json};

use crate::patch::strategic::field_at;
use crate::schema::Gvk;
use crate::schema::table::{Field, Type};

pub(super) fn difference(gvk: Gvk<'_>, before: &Value, after: &Value) -> Value {
    Value::Object(of_maps(Type::of_kind(gvk), before.as_object().unwrap(), after.as_object().unwrap()))
}

fn of_maps(at: Type, before: &Map<String, Value>, after: &Map<String, Value>) -> Map<String, Value> {
    let mut patch = Map::new();
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, new) in after.iter().filter(|(key, new)| before.get(*key) != Some(*new)) {
        match (before.get(key), new) {
            (Some(Value::Object(old)), Value::Object(new)) => {
                patch.insert(key.clone(), Value::Object(of_maps(at.member(key).unwrap(), old, new)));
            }
            (Some(Value::Array(old)), Value::Array(new)) => match field_at(at, key) {
                Some(field) if field.strategy.merge => of_lists(field, old, new, &mut patch),
                _ => drop(patch.insert(key.clone(), json!(new))),
            },
            _ => drop(patch.insert(key.clone(), new.clone())),
        }
    }
    patch
}

fn of_lists(field: &'static Field, old: &[Value], new: &[Value], patch: &mut Map<String, Value>) {
    let order = |list: &[Value]| -> Vec<Value> {
        list.iter().map(|item| field.merge_key.as_ref().map_or(item.clone(), |key| json!({ key: item[key] }))).collect()
    };
    patch.insert(format!("$setElementOrder/{}", field.name), json!(order(new)));
    let Some(key) = &field.merge_key else {
        let gone: Vec<&Value> = old.iter().filter(|item| !new.contains(item)).collect();
        let added: Vec<&Value> = new.iter().filter(|item| !old.contains(item)).collect();
        patch.insert(format!("$deleteFromPrimitiveList/{}", field.name), json!(gone));
        patch.insert(field.name.clone(), json!(added));
        return;
    };
    let mut changes = Vec::new();
    for item in new {
        match old.iter().find(|other| other[key] == item[key]) {
            None => changes.push(item.clone()),
            Some(other) if other == item => {}
            Some(other) => {
                let mut change = of_maps(field.element.holds(), other.as_object().unwrap(), item.as_object().unwrap());
                change.insert(key.clone(), item[key].clone());
                changes.push(Value::Object(change));
            }
        }
    }
    let gone = old.iter().filter(|item| !new.iter().any(|other| other[key] == item[key]));
    changes.extend(gone.map(|item| json!({ "$patch": "delete", key: item[key] })));
    patch.insert(field.name.clone(), json!(changes));
}
