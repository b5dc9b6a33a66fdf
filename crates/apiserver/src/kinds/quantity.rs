//! Amounts of resources where they stand in an object.

use serde_json::Value;

use super::field::Field;
use crate::error::FieldError;
use crate::schema::Quantity;

/// What is wrong with an amount of a resource.
pub(crate) fn validate_amount(amount: &Field<'_>) -> Option<FieldError> {
    of(amount).is_some_and(|billionths| billionths < 0).then(|| amount.invalid("must be greater than or equal to 0"))
}

/// The amount at a place, in billionths.
pub(crate) fn of(amount: &Field<'_>) -> Option<i128> {
    amount.value().and_then(billionths)
}

/// An amount in billionths; manifests may give it as a number.
pub(crate) fn billionths(amount: &Value) -> Option<i128> {
    let quantity = match amount {
        Value::String(text) => Quantity::parse(text),
        Value::Number(number) => Quantity::parse(&number.to_string()),
        _ => None,
    };
    quantity.map(Quantity::billionths)
}

/// The amount at a place as its author wrote it.
pub(crate) fn shown(amount: &Field<'_>) -> String {
    match amount.value() {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}
