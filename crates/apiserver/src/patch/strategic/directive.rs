//! The members of a patch that are instructions and not content.

use serde_json::{Map, Value};

use crate::patch::PatchError;

/// What is to happen to the map or list element it stands in.
const PATCH: &str = "$patch";
/// The members that stay; all others of the original go.
const RETAIN_KEYS: &str = "$retainKeys";
/// Prefix: the elements to remove from a list of primitives.
pub(super) const DELETE_FROM_LIST: &str = "$deleteFromPrimitiveList/";
/// Prefix: the order of a list's elements.
pub(super) const SET_ORDER: &str = "$setElementOrder/";

/// The value of a `$patch` member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Directive {
    Replace,
    Delete,
    Merge,
}

impl Directive {
    /// Removes the directive from a map of the patch and says what it was.
    pub fn take_from(patch: &mut Map<String, Value>) -> Result<Option<Self>, PatchError> {
        let Some(word) = patch.shift_remove(PATCH) else { return Ok(None) };
        match word.as_str() {
            Some("replace") => Ok(Some(Self::Replace)),
            Some("delete") => Ok(Some(Self::Delete)),
            Some("merge") => Ok(Some(Self::Merge)),
            _ => Err(PatchError::malformed(format!(
                "unknown patch type '{word}' in map: {}",
                Value::Object(patch.clone())
            ))),
        }
    }

    /// Whether a list's element is there only to say that it goes.
    pub fn deletes(item: &Value) -> bool {
        item.get(PATCH).and_then(Value::as_str) == Some("delete")
    }
}

/// Removes the members of the original that a `$retainKeys` list does not name.
pub(super) fn retain_keys(original: &mut Map<String, Value>, patch: &mut Map<String, Value>) -> Result<(), PatchError> {
    let Some(list) = patch.shift_remove(RETAIN_KEYS) else { return Ok(()) };
    let malformed = || PatchError::malformed("invalid patch format of retainKeys list");
    let retained = list.as_array().ok_or_else(malformed)?;
    let is_retained = |key: &str| retained.iter().any(|retained| retained.as_str() == Some(key));
    if patch.iter().any(|(key, value)| !value.is_null() && !is_about_a_list(key) && !is_retained(key)) {
        return Err(malformed());
    }
    original.retain(|key, _| is_retained(key));
    Ok(())
}

/// A value of the patch as content: its directives taken out. Nothing remains of what was only a directive.
pub(super) fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(_) if Directive::deletes(&value) => None,
        Value::Object(members) => {
            let had = members.len();
            let kept: Map<String, Value> = members
                .into_iter()
                .filter(|(key, _)| key != PATCH && key != RETAIN_KEYS && !is_about_a_list(key))
                .filter_map(|(key, value)| Some((key, without_directives(value)?)))
                .collect();
            (had == 0 || !kept.is_empty()).then_some(Value::Object(kept))
        }
        Value::Array(items) => Some(items.into_iter().filter_map(without_directives).collect()),
        other => Some(other),
    }
}

/// Takes out the members that are `null`: there is nothing they could remove.
pub(super) fn discard_null_members(members: &mut Map<String, Value>) {
    members.retain(|_, member| !member.is_null());
    members.values_mut().for_each(discard_nulls);
}

/// Takes out the members that are `null` of all objects in `value`.
pub(super) fn discard_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => discard_null_members(members),
        Value::Array(items) => items.iter_mut().for_each(discard_nulls),
        _ => {}
    }
}

fn is_about_a_list(key: &str) -> bool {
    key.starts_with(DELETE_FROM_LIST) || key.starts_with(SET_ORDER)
}
