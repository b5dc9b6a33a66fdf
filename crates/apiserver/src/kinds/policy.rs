//! Kinds that steer others: disruption budgets, priorities, leases, quotas and limits.

use serde_json::{Value, json};

use super::field::Field;
use super::fill::{Fill, Object};
use super::metadata::{immutable, non_negative};
use super::{Generation, Rules, percent, selector};
use crate::error::FieldError;
use crate::table;

pub(super) static DISRUPTION_BUDGET: Rules = Rules {
    generation: Generation::Content,
    initial_status: |_| {
        let counts = ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"];
        Some(counts.iter().map(|&name| (name.to_owned(), json!(0))).collect())
    },
    validate: validate_disruption_budget,
    printer: table::cluster::DISRUPTION_BUDGET,
    ..Rules::PLAIN
};

pub(super) static PRIORITY_CLASS: Rules = Rules {
    generation: Generation::Content,
    default: |class| {
        class.fill("value", 0);
        class.fill("preemptionPolicy", "PreemptLowerPriority");
    },
    validate: validate_priority_class,
    printer: table::cluster::PRIORITY_CLASS,
    ..Rules::PLAIN
};

pub(super) static LEASE: Rules = Rules {
    default: |lease| {
        lease.object("spec");
    },
    validate: |lease, _| validate_lease(&lease.get("spec")),
    printer: table::cluster::LEASE,
    ..Rules::PLAIN
};

pub(super) static RESOURCE_QUOTA: Rules =
    Rules { initial_status: |_| Some(json!({})), printer: table::cluster::RESOURCE_QUOTA, ..Rules::PLAIN };

pub(super) static LIMIT_RANGE: Rules =
    Rules { default: default_limit_range, printer: table::access::CREATED_AT, ..Rules::PLAIN };

const EVICTION_POLICIES: &[&str] = &["AlwaysAllow", "IfHealthyBudget"];
const PREEMPTION_POLICIES: &[&str] = &["PreemptLowerPriority", "Never"];
/// Priorities above are for what keeps a cluster alive.
const HIGHEST_USER_PRIORITY: i64 = 1_000_000_000;
const SYSTEM_PREFIX: &str = "system-";
const SYSTEM_PRIORITIES: [(&str, i64); 2] =
    [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

fn validate_disruption_budget(budget: &Field<'_>, _old: &Field<'_>) -> Vec<FieldError> {
    let spec = budget.get("spec");
    let (least, most) = (spec.get("minAvailable"), spec.get("maxUnavailable"));
    let mut errors = Vec::new();
    if least.is_set() && most.is_set() {
        errors.push(spec.invalid("minAvailable and maxUnavailable cannot be both set"));
    }
    for amount in [least, most].iter().filter(|amount| amount.is_set()) {
        errors.extend(percent::validate_count_or_percent(amount));
        errors.extend(percent::validate_at_most_all(amount));
    }
    errors.extend(selector::validate(&spec.get("selector")));
    let policy = spec.get("unhealthyPodEvictionPolicy");
    if policy.is_set() && !EVICTION_POLICIES.contains(&policy.text()) {
        errors.push(policy.not_supported(EVICTION_POLICIES));
    }
    errors
}

fn validate_priority_class(class: &Field<'_>, old: &Field<'_>) -> Vec<FieldError> {
    let (value, policy) = (class.get("value"), class.get("preemptionPolicy"));
    if old.is_set() {
        let changed = value.integer() != old.get("value").integer();
        let mut errors: Vec<FieldError> =
            changed.then(|| value.forbidden("may not be changed in an update.")).into_iter().collect();
        errors.extend(immutable(&policy, &old.get("preemptionPolicy")));
        return errors;
    }
    let mut errors = Vec::new();
    let name = class.get("metadata").get("name");
    if name.text().starts_with(SYSTEM_PREFIX) {
        errors.extend(wrong_with_system_class(class).map(|wrong| {
            let detail = "priority class names with 'system-' prefix are reserved for system use only. error";
            name.forbidden(format!("{detail}: {wrong}"))
        }));
    } else if value.integer().is_some_and(|value| value > HIGHEST_USER_PRIORITY) {
        let detail = format!("maximum allowed value of a user defined priority is {HIGHEST_USER_PRIORITY}");
        errors.push(value.forbidden(detail));
    }
    errors.extend(policy.one_of(PREEMPTION_POLICIES));
    errors
}

fn wrong_with_system_class(class: &Field<'_>) -> Option<String> {
    let name = class.get("metadata").get("name").text();
    match SYSTEM_PRIORITIES.iter().find(|(known, _)| *known == name) {
        None => Some(format!("{name} is not a known system priority class")),
        Some((_, value)) if class.get("value").integer() != Some(*value) => {
            Some(format!("value of {name} PriorityClass must be {value}"))
        }
        Some(_) => {
            class.get("globalDefault").truth().then(|| format!("globalDefault of {name} PriorityClass must be false"))
        }
    }
}

fn validate_lease(spec: &Field<'_>) -> Vec<FieldError> {
    let duration = spec.get("leaseDurationSeconds");
    let mut errors = Vec::new();
    if duration.integer().is_some_and(|seconds| seconds <= 0) {
        errors.push(duration.invalid("must be greater than 0"));
    }
    errors.extend(non_negative(&spec.get("leaseTransitions")));
    if !spec.get("preferredHolder").is_empty() && spec.get("strategy").is_empty() {
        errors.push(spec.get("preferredHolder").forbidden("may only be specified if `strategy` is defined"));
    }
    errors
}

/// A container's limit is the most it may have unless said otherwise, and its request is its limit.
fn default_limit_range(range: &mut Object) {
    for limit in range.object("spec").objects("limits").filter(|limit| limit.text("type") == "Container") {
        inherit(limit, "max", "default");
        inherit(limit, "default", "defaultRequest");
        inherit(limit, "min", "defaultRequest");
    }
}

fn inherit(limit: &mut Object, from: &str, to: &str) {
    let source = limit.get(from).and_then(Value::as_object).cloned().unwrap_or_default();
    let target = limit.object(to);
    for (name, amount) in source {
        target.fill(&name, amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(rules: &Rules, new: &Value, old: Option<&Value>) -> Vec<String> {
        let old = old.map_or_else(Field::nothing, Field::root);
        (rules.validate)(&Field::root(new), &old).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_budget_counts_pods_or_parts() {
        let spec = |least: Value| json!({"spec": {"minAvailable": least, "selector": {}}});
        assert!(errors(&DISRUPTION_BUDGET, &spec(json!("50%")), None).is_empty());
        assert_eq!(
            errors(&DISRUPTION_BUDGET, &spec(json!("101%")), None),
            ["spec.minAvailable: Invalid value: \"101%\": must not be greater than 100%"]
        );
        assert_eq!(
            errors(&DISRUPTION_BUDGET, &spec(json!(-1)), None),
            ["spec.minAvailable: Invalid value: -1: must be greater than or equal to 0"]
        );
    }

    #[test]
    fn high_priorities_are_reserved() {
        let class =
            |name: &str, value: i64| json!({"metadata": {"name": name}, "value": value, "preemptionPolicy": "Never"});
        assert!(errors(&PRIORITY_CLASS, &class("high", 1_000_000_000), None).is_empty());
        assert!(errors(&PRIORITY_CLASS, &class("system-node-critical", 2_000_001_000), None).is_empty());
        assert_eq!(
            errors(&PRIORITY_CLASS, &class("high", 1_000_000_001), None),
            ["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"]
        );
        assert_eq!(
            errors(&PRIORITY_CLASS, &class("system-mine", 1), None),
            ["metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. \
              error: system-mine is not a known system priority class"]
        );
        assert_eq!(
            errors(&PRIORITY_CLASS, &class("high", 2), Some(&class("high", 1))),
            ["value: Forbidden: may not be changed in an update."]
        );
    }

    #[test]
    fn a_lease_lasts() {
        assert_eq!(
            errors(&LEASE, &json!({"spec": {"leaseDurationSeconds": 0, "leaseTransitions": -1}}), None),
            [
                "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
                "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0",
            ]
        );
    }
}
