//! The annotation in which client-side `kubectl apply` keeps what it applied last.
//!
//! An object moves from client-side to server-side apply without conflicts: what the annotation says and the object
//! still has was kubectl's own. The annotation is kept true as long as it is there, so that the way back works too.

use serde_json::Value;

use super::compare::{Comparison, fields_of};
use super::place::Place;
use crate::patch::fields::FieldSet;
use crate::schema::{self, Gvk, Kind};

const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The manager of `kubectl apply --server-side`. Others want no part in this.
const KUBECTL: &str = "kubectl";

/// The fields of `live` that a server-side apply by `manager` may take from anyone.
pub(super) fn inherited(kind: Kind<'_>, live: &Value, manager: &str) -> FieldSet {
    read(kind, live, manager).unwrap_or_default()
}

fn read(kind: Kind<'_>, live: &Value, manager: &str) -> Option<FieldSet> {
    let text = annotation_of(live).filter(|_| manager == KUBECTL)?;
    let mut last: Value = serde_json::from_str(text).ok()?;
    if Gvk::of(&last)? != kind.gvk {
        return None;
    }
    schema::normalize(kind, &mut last);
    let root = Place::root(kind);
    let difference = Comparison::between(root, &last, live);
    let changed = difference.modified.union(&difference.added).union(&difference.removed);
    Some(fields_of(root, &last).difference(&changed))
}

/// Writes what was applied into the annotation of the new object, if it has one.
pub(super) fn refresh(object: &mut Value, applied: &Value, manager: &str) {
    if manager != KUBECTL || annotation_of(object).is_none() {
        return;
    }
    let mut applied = applied.clone();
    if let Some(annotations) = applied.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.shift_remove(ANNOTATION);
    }
    let text = format!("{applied}\n");
    if let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.insert(ANNOTATION.into(), text.into());
    }
}

fn annotation_of(object: &Value) -> Option<&str> {
    object.get("metadata")?.get("annotations")?.get(ANNOTATION)?.as_str().filter(|text| !text.is_empty())
}
