//! What of a pod may change: its images, its deadline, more tolerations, fewer gates.

use serde_json::{Value, json};

use super::scheduling::validate_tolerations;
use super::{MAX_SECONDS, padded_image};
use crate::error::FieldError;
use crate::kinds::difference;
use crate::kinds::field::Field;
use crate::kinds::fill::{Fill, Object};
use crate::kinds::prepare::same;

const CHANGEABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
    `spec.tolerations` (only additions to existing tolerations),\
    `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// What is wrong with a change of a pod's specification.
pub(super) fn validate_change(new: &Field<'_>, old: &Field<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for list in ["containers", "initContainers"] {
        let (now, before) = (new.get(list), old.get(list));
        if now.list().len() != before.list().len() {
            errors.push(now.forbidden("pod updates may not add or remove containers"));
            return errors;
        }
        errors.extend(now.items().flat_map(|container| validate_image(&container)));
    }
    if let Some(wrong) = validate_deadline(new, old) {
        errors.push(wrong);
        if new.get("activeDeadlineSeconds").is_set() {
            return errors;
        }
    }
    errors.extend(validate_kept_tolerations(&new.get("tolerations"), &old.get("tolerations")));
    errors.extend(validate_fewer_gates(&new.get("schedulingGates"), &old.get("schedulingGates")));
    errors.extend(validate_rest(new, old));
    errors
}

fn validate_image(container: &Field<'_>) -> Vec<FieldError> {
    let image = container.get("image");
    let mut errors: Vec<FieldError> = image.is_empty().then(|| image.required("")).into_iter().collect();
    errors.extend(padded_image(container));
    errors
}

fn validate_deadline(new: &Field<'_>, old: &Field<'_>) -> Option<FieldError> {
    let (now, before) = (new.get("activeDeadlineSeconds"), old.get("activeDeadlineSeconds"));
    match (now.integer(), before.integer()) {
        (Some(seconds), _) if !(0..=MAX_SECONDS).contains(&seconds) => {
            Some(now.invalid(format!("must be between 0 and {MAX_SECONDS}, inclusive")))
        }
        (Some(seconds), Some(earlier)) if earlier < seconds => {
            Some(now.invalid("must be less than or equal to previous value"))
        }
        (None, Some(_)) => {
            let detail = "must not update from a positive integer to nil value";
            Some(FieldError::invalid(now.path(), Value::Null, detail))
        }
        _ => None,
    }
}

fn validate_kept_tolerations(new: &Field<'_>, old: &Field<'_>) -> Vec<FieldError> {
    let timeless = |toleration: &Value| {
        let mut toleration = toleration.clone();
        if let Some(fields) = toleration.as_object_mut() {
            fields.remove("tolerationSeconds");
        }
        toleration
    };
    let kept: Vec<Value> = new.list().iter().map(timeless).collect();
    if old.list().iter().any(|toleration| !kept.contains(&timeless(toleration))) {
        return vec![new.forbidden("existing toleration can not be modified except its tolerationSeconds")];
    }
    validate_tolerations(new)
}

fn validate_fewer_gates(new: &Field<'_>, old: &Field<'_>) -> Vec<FieldError> {
    let before: Vec<&str> = old.items().map(|gate| gate.get("name").text()).collect();
    let added = new.items().map(|gate| gate.get("name")).filter(|name| !before.contains(&name.text()));
    added
        .map(|name| {
            let detail = format!("only deletion is allowed, but found new scheduling gate '{}'", name.text());
            name.forbidden(detail)
        })
        .collect()
}

/// Everything else stays as it was.
fn validate_rest(new: &Field<'_>, old: &Field<'_>) -> Option<FieldError> {
    let (now, before) = (new.map()?, old.map()?);
    let allowed = with_changeable_parts_of(now, before);
    if same(Some(&json!(allowed)), old.value()) {
        return None;
    }
    let changes = difference::unified(&json!(before), &json!(allowed));
    Some(new.forbidden(format!("pod updates may not change fields other than {CHANGEABLE}\n{changes}")))
}

/// The new specification with what may change put back as it was.
fn with_changeable_parts_of(new: &Object, old: &Object) -> Object {
    let mut spec = new.clone();
    for list in ["containers", "initContainers"] {
        let before = old.get(list).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        for (container, before) in spec.objects(list).zip(before) {
            container.insert("image".into(), before["image"].clone());
        }
    }
    let was_negative = old.get("terminationGracePeriodSeconds").and_then(Value::as_i64).is_some_and(|s| s < 0);
    let shortened = was_negative && spec.get("terminationGracePeriodSeconds") == Some(&json!(1));
    let grace = shortened.then_some("terminationGracePeriodSeconds");
    for name in ["activeDeadlineSeconds", "schedulingGates", "tolerations"].into_iter().chain(grace) {
        match old.get(name) {
            Some(value) => drop(spec.insert(name.to_owned(), value.clone())),
            None => drop(spec.remove(name)),
        }
    }
    if is_gated(old) {
        keep_choice_of_node(&mut spec, old);
    }
    spec
}

fn is_gated(spec: &Object) -> bool {
    spec.get("schedulingGates").and_then(Value::as_array).is_some_and(|gates| !gates.is_empty())
}

/// A pod that is not scheduled yet may still become choosier about its node.
fn keep_choice_of_node(spec: &mut Object, old: &Object) {
    for name in ["nodeSelector", "affinity"] {
        match old.get(name) {
            Some(value) => drop(spec.insert(name.to_owned(), value.clone())),
            None => drop(spec.remove(name)),
        }
    }
}
