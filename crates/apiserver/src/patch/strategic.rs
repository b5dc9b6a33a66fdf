//! Strategic merge patch: a merge patch that knows which lists are merged by a key.
//!
//! The format, with its directives, is described in
//! <https://github.com/kubernetes/community/blob/main/contributors/devel/sig-api-machinery/strategic-merge-patch.md>.

mod directive;
mod list;
mod order;

use serde_json::{Map, Value};

use super::PatchError;
use crate::schema::Kind;
use crate::schema::table::{Field, Type};
use directive::{
    DELETE_FROM_LIST, Directive, SET_ORDER, discard_null_members, discard_nulls, retain_keys, without_directives,
};

/// Applies a strategic merge patch to an object of a built-in kind. Custom resources do not have them.
pub fn strategic_merge_patch<'a>(
    kind: impl Into<Kind<'a>>,
    document: &Value,
    patch: &Value,
) -> Result<Value, PatchError> {
    let at = kind.into().root;
    if matches!(at, Type::Resource | Type::Custom(_)) {
        return Err(PatchError::Unsupported);
    }
    let (Value::Object(original), Value::Object(changes)) = (document, patch) else {
        return Err(PatchError::malformed("error decoding patch: a strategic merge patch must be a JSON object"));
    };
    merge_map(at, original.clone(), changes.clone()).map(Value::Object)
}

fn merge_map(
    at: Type,
    mut original: Map<String, Value>,
    mut patch: Map<String, Value>,
) -> Result<Map<String, Value>, PatchError> {
    match Directive::take_from(&mut patch)? {
        Some(Directive::Replace) => {
            discard_null_members(&mut patch);
            return Ok(patch);
        }
        Some(Directive::Delete) => return Ok(Map::new()),
        Some(Directive::Merge) | None => {}
    }
    retain_keys(&mut original, &mut patch)?;
    merge_ordered_lists(at, &mut original, &mut patch)?;
    for (key, value) in patch {
        merge_member(at, &mut original, &key, value)?;
    }
    Ok(original)
}

fn merge_member(at: Type, original: &mut Map<String, Value>, key: &str, patch: Value) -> Result<(), PatchError> {
    if let Some(key) = key.strip_prefix(DELETE_FROM_LIST) {
        return list::delete_from_primitives(original.get_mut(key).unwrap_or(&mut Value::Null), &patch);
    }
    if patch.is_null() {
        original.shift_remove(key);
        return Ok(());
    }
    let field = field_at(at, key);
    let merged = match (original.get_mut(key).map(Value::take), patch) {
        (Some(Value::Object(old)), Value::Object(new)) => match field {
            Some(field) if field.strategy.replace => Value::Object(new),
            _ => Value::Object(merge_map(at.member(key).unwrap_or(Type::Open), old, new)?),
        },
        (Some(Value::Array(old)), Value::Array(new)) => Value::Array(merge_list(field, old, new)?),
        (_, mut new) => {
            discard_nulls(&mut new);
            without_directives(new).unwrap_or(Value::Null)
        }
    };
    original.insert(key.to_owned(), merged);
    Ok(())
}

/// Merges the lists whose order the patch gives in a `$setElementOrder` directive, and removes both from the patch.
fn merge_ordered_lists(
    at: Type,
    original: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
) -> Result<(), PatchError> {
    let directives: Vec<String> = patch.keys().filter(|key| key.starts_with(SET_ORDER)).cloned().collect();
    for directive in directives {
        let key = directive.trim_start_matches(SET_ORDER);
        let wanted = take_list(patch, &directive)?.unwrap_or_default();
        let (old, new) = (take_list_or_keep(original, key)?, take_list(patch, key)?);
        let field = field_at(at, key);
        let merge_key = field.and_then(|field| field.merge_key.as_deref());
        if let Some(new) = &new {
            order::check_agrees(new, &wanted, merge_key)?;
        }
        let live_order = old.clone().unwrap_or_default();
        let merged = match (old, new) {
            (None, None) => continue,
            (Some(old), None) => old,
            (None, Some(mut new)) => {
                new.iter_mut().for_each(discard_nulls);
                new.into_iter().filter_map(without_directives).collect()
            }
            (Some(old), Some(new)) => merge_list(field, old, new)?,
        };
        original.insert(key.to_owned(), Value::Array(order::arrange(merged, &wanted, &live_order, merge_key)));
    }
    Ok(())
}

fn merge_list(field: Option<&'static Field>, old: Vec<Value>, new: Vec<Value>) -> Result<Vec<Value>, PatchError> {
    match field {
        Some(field) if field.strategy.merge => list::merge(field, old, new),
        _ => Ok(new),
    }
}

/// The field behind a key, where a struct is what the key belongs to.
fn field_at(at: Type, key: &str) -> Option<&'static Field> {
    match at {
        Type::Message(message) => message.field(key),
        _ => None,
    }
}

fn take_list(members: &mut Map<String, Value>, key: &str) -> Result<Option<Vec<Value>>, PatchError> {
    match members.shift_remove(key) {
        None => Ok(None),
        Some(Value::Array(items)) => Ok(Some(items)),
        Some(_) => Err(PatchError::malformed("invalid patch format of setElementOrder list")),
    }
}

/// The list under a key; the member keeps its place among the others.
fn take_list_or_keep(members: &mut Map<String, Value>, key: &str) -> Result<Option<Vec<Value>>, PatchError> {
    match members.get_mut(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(items)) => Ok(Some(std::mem::take(items))),
        Some(_) => Err(PatchError::malformed("invalid patch format of setElementOrder list")),
    }
}

#[cfg(test)]
mod tests;
