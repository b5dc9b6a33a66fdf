//! The rules of where and when a pod may run.

use crate::error::FieldError;
use crate::kinds::field::Field;
use crate::kinds::{metadata, names, selector};

const OPERATORS: &[&str] = &["Equal", "Exists"];
const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];
const UNSATISFIABLE: &[&str] = &["DoNotSchedule", "ScheduleAnyway"];

/// What is wrong with the conditions a pod waits for before it is scheduled or ready.
pub(super) fn validate_gates(spec: &Field<'_>) -> Vec<FieldError> {
    let readiness = spec.get("readinessGates").items().map(|gate| gate.get("conditionType"));
    let mut errors: Vec<FieldError> = readiness.flat_map(|kind| kind.malformed(names::label_key)).collect();
    let mut seen = Vec::new();
    for gate in spec.get("schedulingGates").items() {
        let name = gate.get("name").at(gate.path());
        errors.extend(name.malformed(names::label_key));
        errors.extend(seen.contains(&name.text()).then(|| name.duplicate()));
        seen.push(name.text());
    }
    errors
}

/// What is wrong with tolerations.
pub(super) fn validate_tolerations(tolerations: &Field<'_>) -> Vec<FieldError> {
    tolerations.items().flat_map(|toleration| validate_toleration(&toleration)).collect()
}

fn validate_toleration(toleration: &Field<'_>) -> Vec<FieldError> {
    let (key, operator) = (toleration.get("key"), toleration.get("operator"));
    let (value, effect) = (toleration.get("value"), toleration.get("effect"));
    let mut errors = Vec::new();
    if !key.is_empty() {
        errors.extend(metadata::validate_label_key(key.text(), &key));
    } else if operator.text() != "Exists" {
        let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        errors.push(operator.invalid(detail));
    }
    if toleration.get("tolerationSeconds").is_set() && effect.text() != "NoExecute" {
        errors.push(effect.invalid("effect must be 'NoExecute' when `tolerationSeconds` is set"));
    }
    let about_value = |detail: String| FieldError::invalid(operator.path(), value.text(), detail);
    match operator.text() {
        "" | "Equal" => {
            let wrong = names::label_value(value.text());
            errors.extend((!wrong.is_empty()).then(|| about_value(wrong.join(";"))));
        }
        "Exists" if !value.is_empty() => {
            errors.push(about_value("value must be empty when `operator` is 'Exists'".to_owned()));
        }
        "Exists" => {}
        _ => errors.push(operator.not_supported(OPERATORS)),
    }
    if !effect.is_empty() {
        errors.extend(effect.one_of(EFFECTS));
    }
    errors
}

/// What is wrong with the ways pods are spread.
pub(super) fn validate_spread(constraints: &Field<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for constraint in constraints.items() {
        let (skew, key) = (constraint.get("maxSkew"), constraint.get("topologyKey"));
        if skew.integer().unwrap_or(0) <= 0 {
            let shown = skew.integer().unwrap_or(0);
            errors.push(FieldError::invalid(skew.path(), shown, "must be greater than zero"));
        }
        if key.is_empty() {
            errors.push(key.required("can not be empty"));
        } else {
            errors.extend(metadata::validate_label_key(key.text(), &key));
        }
        let otherwise = constraint.get("whenUnsatisfiable");
        errors.extend((!UNSATISFIABLE.contains(&otherwise.text())).then(|| otherwise.not_supported(UNSATISFIABLE)));
        errors.extend(selector::validate(&constraint.get("labelSelector")));
    }
    errors
}
