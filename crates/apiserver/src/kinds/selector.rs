//! The rules of `LabelSelector` objects.

use super::field::Field;
use super::metadata::{validate_label_key, validate_labels};
use super::names;
use crate::error::FieldError;

/// What is wrong with a selector; a missing one is fine.
pub(crate) fn validate(selector: &Field<'_>) -> Vec<FieldError> {
    let mut errors = validate_labels(&selector.get("matchLabels"));
    for expression in selector.get("matchExpressions").items() {
        errors.extend(validate_expression(&expression));
    }
    errors
}

fn validate_expression(expression: &Field<'_>) -> Vec<FieldError> {
    let (key, operator, values) = (expression.get("key"), expression.get("operator"), expression.get("values"));
    let mut errors = Vec::new();
    match operator.text() {
        "In" | "NotIn" if values.is_empty() => {
            errors.push(values.required("must be specified when `operator` is 'In' or 'NotIn'"));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            errors.push(values.forbidden("may not be specified when `operator` is 'Exists' or 'DoesNotExist'"));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        _ => errors.push(operator.invalid("not a valid selector operator")),
    }
    errors.extend(validate_label_key(key.text(), &key));
    errors.extend(values.items().flat_map(|value| value.malformed(names::label_value)));
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn expressions_have_values_exactly_when_their_operator_takes_some() {
        let selector = json!({"matchExpressions": [
            {"key": "a", "operator": "In", "values": ["x"]},
            {"key": "a", "operator": "In"},
            {"key": "a", "operator": "Exists", "values": ["x"]},
            {"key": "a", "operator": "Near"},
        ]});
        let errors: Vec<String> =
            validate(&Field::root(&selector).at("spec.selector")).iter().map(ToString::to_string).collect();
        assert_eq!(
            errors,
            [
                "spec.selector.matchExpressions[1].values: Required value: \
                 must be specified when `operator` is 'In' or 'NotIn'",
                "spec.selector.matchExpressions[2].values: Forbidden: \
                 may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                "spec.selector.matchExpressions[3].operator: Invalid value: \"Near\": not a valid selector operator",
            ]
        );
    }
}
