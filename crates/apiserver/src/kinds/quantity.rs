//! Quantities of resources: `250m`, `1.5`, `128Mi`, `2e3`.

use serde_json::Value;

use super::field::Field;
use crate::error::FieldError;

/// What is wrong with an amount of a resource.
pub(crate) fn validate_amount(amount: &Field<'_>) -> Option<FieldError> {
    of(amount).is_some_and(|billionths| billionths < 0).then(|| amount.invalid("must be greater than or equal to 0"))
}

/// The quantity at a place, in billionths; manifests may give it as a number.
pub(crate) fn of(amount: &Field<'_>) -> Option<i128> {
    match amount.value()? {
        Value::String(text) => parse(text),
        Value::Number(number) => parse(&number.to_string()),
        _ => None,
    }
}

/// A quantity in billionths of its unit, rounded up; nothing if the text is malformed or the number out of range.
pub(crate) fn parse(text: &str) -> Option<i128> {
    let digits_end = text
        .char_indices()
        .find(|&(at, c)| !(c.is_ascii_digit() || c == '.' || (at == 0 && matches!(c, '+' | '-'))))
        .map_or(text.len(), |(at, _)| at);
    let (number, suffix) = text.split_at(digits_end);
    let (negative, number) = match number.strip_prefix('-') {
        Some(number) => (true, number),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let scale = scale_of(suffix)?;
    let digits: i128 = format!("0{whole}{fraction}").parse().ok()?;
    let divisor = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let scaled = match scale {
        Scale::Times(factor) => digits.checked_mul(factor)?,
        Scale::Tenth(power) => {
            return finish(
                digits.checked_mul(1_000_000_000)?,
                divisor.checked_mul(10_i128.checked_pow(power)?)?,
                negative,
            );
        }
    };
    finish(scaled.checked_mul(1_000_000_000)?, divisor, negative)
}

fn finish(amount: i128, divisor: i128, negative: bool) -> Option<i128> {
    let rounded_up = amount / divisor + i128::from(amount % divisor != 0);
    Some(if negative { -rounded_up } else { rounded_up })
}

enum Scale {
    /// Multiply by this.
    Times(i128),
    /// Divide by this power of ten.
    Tenth(u32),
}

fn scale_of(suffix: &str) -> Option<Scale> {
    const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    const DECIMAL: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];
    const SMALL: [&str; 3] = ["m", "u", "n"];
    let place = |table: &[&str]| table.iter().position(|&entry| entry == suffix).and_then(|at| u32::try_from(at).ok());
    if let Some(power) = place(&DECIMAL) {
        return Some(Scale::Times(1000_i128.pow(power)));
    }
    if let Some(power) = place(&BINARY) {
        return Some(Scale::Times(1024_i128.pow(power + 1)));
    }
    if let Some(power) = place(&SMALL) {
        return Some(Scale::Tenth(3 * (power + 1)));
    }
    let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    let power = exponent.unsigned_abs();
    if exponent < 0 { Some(Scale::Tenth(power)) } else { Some(Scale::Times(10_i128.checked_pow(power)?)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_notation_means_what_it_says() {
        let cases = [
            ("1", Some(1_000_000_000)),
            ("250m", Some(250_000_000)),
            ("0.25", Some(250_000_000)),
            (".5", Some(500_000_000)),
            ("5.", Some(5_000_000_000)),
            ("1Ki", Some(1024_000_000_000)),
            ("1.5Gi", Some(1_610_612_736_000_000_000)),
            ("2e3", Some(2_000_000_000_000)),
            ("5e-1", Some(500_000_000)),
            ("1E", Some(1_000_000_000_000_000_000_000_000_000)),
            ("-1", Some(-1_000_000_000)),
            ("1n", Some(1)),
            ("0.1n", Some(1)),
            ("", None),
            ("m", None),
            ("1.2.3", None),
            ("1 Gi", None),
            ("1gi", None),
            ("abc", None),
        ];
        for (text, billionths) in cases {
            assert_eq!(parse(text), billionths, "{text:?}");
        }
    }
}
