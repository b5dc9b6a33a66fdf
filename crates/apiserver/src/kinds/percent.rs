//! Amounts given as a count or as a part of all.

use super::field::Field;
use super::metadata::non_negative;
use super::names;
use crate::error::FieldError;

/// What is wrong with an amount: a count may not be negative, a part is written as a percentage.
pub(crate) fn validate_count_or_percent(amount: &Field<'_>) -> Vec<FieldError> {
    match amount.text_if_set() {
        Some(_) => amount.malformed(names::percent).collect(),
        None => non_negative(amount).into_iter().collect(),
    }
}

/// Refuses more than all.
pub(crate) fn validate_at_most_all(amount: &Field<'_>) -> Option<FieldError> {
    percent_of(amount).is_some_and(|percent| percent > 100).then(|| amount.invalid("must not be greater than 100%"))
}

/// The amount as a plain number, whichever way it is given.
pub(crate) fn number_of(amount: &Field<'_>) -> i64 {
    percent_of(amount).or_else(|| amount.integer()).unwrap_or(0)
}

fn percent_of(amount: &Field<'_>) -> Option<i64> {
    amount.text_if_set()?.strip_suffix('%')?.parse().ok()
}
