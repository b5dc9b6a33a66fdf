//! The formats of strings and numbers that schemas may name.

use std::net::{Ipv4Addr, Ipv6Addr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;
use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::{Number, Value};

/// Whether a value has a format. Values that a format does not speak of, and formats nobody knows, are fine.
pub(super) fn has_format(format: &str, value: &Value) -> bool {
    match (format, value) {
        ("int32", Value::Number(number)) => is_between(number, f64::from(i32::MIN), 2_147_483_648.0),
        ("int64", Value::Number(number)) => {
            number.is_i64() || is_between(number, -9_223_372_036_854_775_808.0, 9_223_372_036_854_775_808.0)
        }
        (format, Value::String(text)) => text_has(format, text),
        _ => true,
    }
}

/// Whether a number is at least `least` and less than `end`; both are exact as they are written here.
fn is_between(number: &Number, least: f64, end: f64) -> bool {
    number.as_f64().is_some_and(|number| (least..end).contains(&number))
}

fn text_has(format: &str, text: &str) -> bool {
    match format {
        "byte" => STANDARD.decode(text).is_ok(),
        "cidr" => text.parse::<IpNet>().is_ok(),
        "date" => text.parse::<Date>().is_ok(),
        "date-time" => text.parse::<Timestamp>().is_ok(),
        "duration" => is_duration(text),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "uuid" => is_uuid(text),
        _ => true,
    }
}

/// A duration as Go writes it: `1h30m`, `-1.5s`.
fn is_duration(text: &str) -> bool {
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    let is_some = !rest.is_empty();
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        let unit = ["ns", "us", "µs", "ms", "h", "m", "s"].into_iter().find(|unit| rest[digits..].starts_with(unit));
        let Some(unit) = unit.filter(|_| rest[..digits].parse::<f64>().is_ok()) else { return false };
        rest = &rest[digits + unit.len()..];
    }
    is_some
}

fn is_uuid(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12])
        && parts.iter().all(|part| part.chars().all(|c| c.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_format_takes_what_it_means() {
        let right = [
            ("ipv4", json!("10.0.0.1")),
            ("ipv6", json!("fd00::1")),
            ("cidr", json!("10.0.0.0/8")),
            ("date-time", json!("2026-01-01T00:00:00Z")),
            ("date", json!("2026-01-01")),
            ("duration", json!("1h30m")),
            ("duration", json!("0")),
            ("byte", json!("YQ==")),
            ("int32", json!(2_147_483_647)),
            ("int32", json!(-2_147_483_648_i64)),
            ("int64", json!(9_223_372_036_854_775_807_i64)),
            ("int64", json!(1e18)),
            ("uuid", json!("6ba7b810-9dad-11d1-80b4-00c04fd430c8")),
            ("password", json!("anything")),
            ("ipv4", json!(7)),
        ];
        for (format, value) in right {
            assert!(has_format(format, &value), "{format} {value}");
        }
        let wrong = [
            ("ipv4", json!("fd00::1")),
            ("ipv6", json!("10.0.0.1")),
            ("cidr", json!("10.0.0.1")),
            ("date-time", json!("yesterday")),
            ("duration", json!("1 hour")),
            ("duration", json!("")),
            ("byte", json!("$")),
            ("int32", json!(2_147_483_648_i64)),
            ("int32", json!(1e10)),
            ("int64", json!(9_223_372_036_854_775_808_u64)),
            ("uuid", json!("6ba7b810")),
        ];
        for (format, value) in wrong {
            assert!(!has_format(format, &value), "{format} {value}");
        }
    }
}
