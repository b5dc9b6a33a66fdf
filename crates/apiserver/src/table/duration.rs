//! Durations as people read them: two or three significant figures.

use jiff::Timestamp;
use serde_json::Value;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// The time from `moment` (RFC 3339) to `now`, or `<unknown>` if there is no such moment.
pub(crate) fn since(moment: &Value, now: Timestamp) -> String {
    match parse(moment) {
        Some(then) => human(now.as_second() - then.as_second()),
        None => "<unknown>".to_owned(),
    }
}

/// A moment of the object, unless missing.
pub(crate) fn parse(moment: &Value) -> Option<Timestamp> {
    moment.as_str().and_then(|text| text.parse().ok())
}

/// Seconds as kubectl prints an age: `47s`, `5m12s`, `3h`, `2d4h`, `1y30d`.
///
/// One second into the future is `0s` (clocks differ), more is `<invalid>`.
pub(crate) fn human(seconds: i64) -> String {
    let two = |big: i64, big_unit: char, small: i64, small_unit: char| {
        let (whole, rest) = (seconds / big, seconds % big / small);
        if rest == 0 { format!("{whole}{big_unit}") } else { format!("{whole}{big_unit}{rest}{small_unit}") }
    };
    let one = |unit: i64, letter: char| format!("{}{letter}", seconds / unit);
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        s if s < 2 * MINUTE => one(1, 's'),
        s if s < 10 * MINUTE => two(MINUTE, 'm', 1, 's'),
        s if s < 3 * HOUR => one(MINUTE, 'm'),
        s if s < 8 * HOUR => two(HOUR, 'h', MINUTE, 'm'),
        s if s < 2 * DAY => one(HOUR, 'h'),
        s if s < 8 * DAY => two(DAY, 'd', HOUR, 'h'),
        s if s < 2 * YEAR => one(DAY, 'd'),
        s if s < 8 * YEAR => two(YEAR, 'y', DAY, 'd'),
        _ => one(YEAR, 'y'),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ages_have_two_or_three_figures() {
        let cases = [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (5 * MINUTE + 12, "5m12s"),
            (10 * MINUTE + 1, "10m"),
            (179 * MINUTE, "179m"),
            (3 * HOUR, "3h"),
            (7 * HOUR + 59 * MINUTE, "7h59m"),
            (8 * HOUR + 30 * MINUTE, "8h"),
            (47 * HOUR, "47h"),
            (2 * DAY + 4 * HOUR, "2d4h"),
            (8 * DAY + 4 * HOUR, "8d"),
            (2 * YEAR - 1, "729d"),
            (2 * YEAR + 30 * DAY, "2y30d"),
            (9 * YEAR, "9y"),
        ];
        for (seconds, text) in cases {
            assert_eq!(human(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn an_object_without_a_birthday_has_an_unknown_age() {
        assert_eq!(since(&json!(null), Timestamp::UNIX_EPOCH), "<unknown>");
        assert_eq!(since(&json!("1970-01-01T00:00:00Z"), Timestamp::from_second(90).expect("in range")), "90s");
    }
}
