//! Lists that are merged: of primitives, and of maps by their merge key.

use serde_json::{Map, Value};

use super::directive::{Directive, discard_nulls, without_directives};
use super::{merge_map, order};
use crate::patch::PatchError;
use crate::schema::table::Field;

/// Merges the patch's elements into the original's.
pub(super) fn merge(field: &'static Field, old: Vec<Value>, new: Vec<Value>) -> Result<Vec<Value>, PatchError> {
    if old.is_empty() && new.is_empty() {
        return Ok(old);
    }
    let all = || old.iter().chain(&new);
    if all().any(Value::is_array) {
        return Err(PatchError::malformed("lists of lists are not supported"));
    }
    if all().all(Value::is_object) {
        let Some(merge_key) = field.merge_key.as_deref() else {
            return Err(PatchError::malformed(format!("cannot merge lists without merge key for {}", field.name)));
        };
        return merge_maps(field, merge_key, old, new);
    }
    if all().any(Value::is_object) {
        return Err(PatchError::malformed("all elements of a list must be of the same type"));
    }
    Ok(merge_primitives(&old, &new))
}

/// Removes what a `$deleteFromPrimitiveList` names from the original's list, if it is one.
pub(super) fn delete_from_primitives(original: &mut Value, doomed: &Value) -> Result<(), PatchError> {
    let doomed = doomed.as_array().ok_or_else(|| PatchError::malformed("invalid patch format of primitive list"))?;
    if let Value::Array(items) = original {
        items.retain(|item| !doomed.contains(item));
    }
    Ok(())
}

fn merge_primitives(old: &[Value], new: &[Value]) -> Vec<Value> {
    let mut merged: Vec<Value> = Vec::with_capacity(old.len() + new.len());
    for item in old.iter().chain(new) {
        if !merged.contains(item) {
            merged.push(item.clone());
        }
    }
    order::arrange(merged, new, old, None)
}

fn merge_maps(
    field: &'static Field,
    merge_key: &str,
    mut old: Vec<Value>,
    new: Vec<Value>,
) -> Result<Vec<Value>, PatchError> {
    let Elements { changes, deleted, replace } = Elements::sort(new, merge_key)?;
    if replace {
        let mut kept: Vec<Value> = changes.into_iter().map(Value::Object).collect();
        kept.iter_mut().for_each(discard_nulls);
        return Ok(kept.into_iter().filter_map(without_directives).collect());
    }
    old.retain(|item| !item.get(merge_key).is_some_and(|key| deleted.contains(key)));
    let live_order = old.clone();
    let wanted: Vec<Value> = changes.iter().cloned().map(Value::Object).collect();
    for change in changes {
        merge_element(field, merge_key, &mut old, change)?;
    }
    Ok(order::arrange(old, &wanted, &live_order, Some(merge_key)))
}

fn merge_element(
    field: &'static Field,
    merge_key: &str,
    into: &mut Vec<Value>,
    change: Map<String, Value>,
) -> Result<(), PatchError> {
    let key = change.get(merge_key).ok_or_else(|| no_merge_key(&change, merge_key))?;
    match into.iter_mut().find(|item| item.get(merge_key) == Some(key)) {
        Some(Value::Object(item)) => *item = merge_map(field.element.holds(), std::mem::take(item), change)?,
        _ => {
            let mut added = Value::Object(change);
            discard_nulls(&mut added);
            into.extend(without_directives(added));
        }
    }
    Ok(())
}

/// The patch's elements, told apart by their directives.
struct Elements {
    changes: Vec<Map<String, Value>>,
    /// The merge keys of elements to delete.
    deleted: Vec<Value>,
    /// The changes are the whole new list.
    replace: bool,
}

impl Elements {
    fn sort(patch: Vec<Value>, merge_key: &str) -> Result<Self, PatchError> {
        let mut elements = Self { changes: Vec::new(), deleted: Vec::new(), replace: false };
        for item in patch {
            let Value::Object(mut item) = item else { continue };
            match Directive::take_from(&mut item)? {
                None => elements.changes.push(item),
                Some(Directive::Replace) => elements.replace = true,
                Some(Directive::Delete) => {
                    let key = item.shift_remove(merge_key).ok_or_else(|| no_merge_key(&item, merge_key))?;
                    elements.deleted.push(key);
                }
                Some(Directive::Merge) => {
                    return Err(PatchError::malformed("merging lists cannot yet be specified in the patch"));
                }
            }
        }
        Ok(elements)
    }
}

fn no_merge_key(item: &Map<String, Value>, merge_key: &str) -> PatchError {
    let item = Value::Object(item.clone());
    PatchError::malformed(format!("map: {item} does not contain declared merge key: {merge_key}"))
}
