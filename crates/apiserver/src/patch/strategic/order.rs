//! The order of a merged list: as the patch wants it, with what only the server has in between.

use serde_json::Value;

use super::directive::Directive;
use crate::patch::PatchError;

/// Puts `items` in order. Those that `wanted` names keep its order and the others that of `live`; between the two, the
/// order of `live` decides as far as it knows both, and else the wanted ones come first.
pub(super) fn arrange(items: Vec<Value>, wanted: &[Value], live: &[Value], merge_key: Option<&str>) -> Vec<Value> {
    let place = |list: &[Value], item: &Value| list.iter().position(|other| same(other, item, merge_key));
    let (mut patched, mut server_only): (Vec<Value>, Vec<Value>) =
        items.into_iter().partition(|item| place(wanted, item).is_some());
    patched.sort_by_key(|item| place(wanted, item));
    server_only.sort_by_key(|item| place(live, item).unwrap_or(usize::MAX));

    let mut arranged = Vec::with_capacity(patched.len() + server_only.len());
    let (mut patched, mut server_only) = (patched.into_iter().peekable(), server_only.into_iter().peekable());
    loop {
        let server_first = match (patched.peek(), server_only.peek()) {
            (None, None) => return arranged,
            (Some(ours), Some(theirs)) => {
                matches!((place(live, theirs), place(live, ours)), (Some(theirs), Some(ours)) if theirs < ours)
            }
            (ours, _) => ours.is_none(),
        };
        arranged.extend(if server_first { server_only.next() } else { patched.next() });
    }
}

/// Refuses a patch list whose elements are missing from its `$setElementOrder` list or stand there in another order.
pub(super) fn check_agrees(patch: &[Value], wanted: &[Value], merge_key: Option<&str>) -> Result<(), PatchError> {
    let mut places = wanted.iter();
    let agrees = patch
        .iter()
        .filter(|item| !Directive::deletes(item))
        .all(|item| places.any(|place| same(place, item, merge_key)));
    if agrees {
        return Ok(());
    }
    Err(PatchError::malformed(format!(
        "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
        Value::from(patch),
        Value::from(wanted)
    )))
}

/// Whether two elements stand for the same thing.
fn same(one: &Value, other: &Value, merge_key: Option<&str>) -> bool {
    match merge_key {
        Some(key) if one.is_object() => one.get(key).is_some() && one.get(key) == other.get(key),
        _ => one == other,
    }
}
