//! Which labels a selector of an API object admits.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use super::kind::StringMap;

/// Whether the selector admits these labels; an empty selector admits all, an unknown operator nothing.
pub(super) fn selects(selector: &LabelSelector, labels: &StringMap) -> bool {
    let expressions = selector.match_expressions.as_deref().unwrap_or_default();
    selector.match_labels.as_ref().is_none_or(|wanted| contains(labels, wanted))
        && expressions.iter().all(|expression| holds(expression, labels))
}

/// Whether all wanted labels are there.
pub(super) fn contains(labels: &StringMap, wanted: &StringMap) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}

fn holds(expression: &LabelSelectorRequirement, labels: &StringMap) -> bool {
    let values = expression.values.as_deref().unwrap_or_default();
    let present = labels.get(&expression.key);
    match expression.operator.as_str() {
        "In" => present.is_some_and(|value| values.contains(value)),
        "NotIn" => present.is_none_or(|value| !values.contains(value)),
        "Exists" => present.is_some(),
        "DoesNotExist" => present.is_none(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn selected(selector: Value) -> bool {
        let labels = [("app", "web"), ("tier", "front")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        selects(&serde_json::from_value(selector).unwrap(), &labels.into())
    }

    fn expression(key: &str, operator: &str, values: &[&str]) -> Value {
        json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]})
    }

    #[test]
    fn labels_and_expressions_must_all_hold() {
        assert!(selected(json!({})));
        assert!(selected(json!({"matchLabels": {"app": "web"}})));
        assert!(!selected(json!({"matchLabels": {"app": "web", "tier": "back"}})));
        let mut both = expression("tier", "In", &["back"]);
        both["matchLabels"] = json!({"app": "web"});
        assert!(!selected(both));
    }

    #[test]
    fn a_missing_label_is_not_in_any_set() {
        assert!(selected(expression("app", "In", &["web", "api"])));
        assert!(!selected(expression("zone", "In", &["a"])));
        assert!(selected(expression("zone", "NotIn", &["a"])));
        assert!(!selected(expression("app", "NotIn", &["web"])));
        assert!(selected(expression("app", "Exists", &[])));
        assert!(!selected(expression("app", "DoesNotExist", &[])));
    }
}
