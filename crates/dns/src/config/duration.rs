//! Lengths of time as Corefiles give them.

use std::time::Duration;

/// The longest time, some 292 years, as in CoreDNS: what is longer than that can be added to no clock.
const LONGEST: Duration = Duration::from_nanos(i64::MAX as u64);

/// Reads `5s`, `1m30s`, `1.5h` or `500ms`; a bare number only when it is zero.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut total, mut rest) = (0.0, text);
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|letter: char| letter.is_ascii_alphabetic())?);
        let (unit, tail) = tail.split_at(tail.find(|letter: char| !letter.is_ascii_alphabetic()).unwrap_or(tail.len()));
        total += number.parse::<f64>().ok()? * seconds_in(unit)?;
        rest = tail;
    }
    Duration::try_from_secs_f64(total).ok().filter(|&time| time <= LONGEST && !text.is_empty())
}

fn seconds_in(unit: &str) -> Option<f64> {
    Some(match unit {
        "ns" => 1e-9,
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_numbers_with_units() {
        let millis = |text| parse_duration(text).map(|duration| duration.as_millis());
        assert_eq!(millis("5s"), Some(5000));
        assert_eq!(millis("1m30s"), Some(90_000));
        assert_eq!(millis("0.5s"), Some(500));
        assert_eq!(millis("250ms"), Some(250));
        assert_eq!(millis("0"), Some(0));
        assert_eq!(millis("2562047h"), Some(9_223_369_200_000));
        for wrong in ["", "5", "s", "5 s", "-5s", "5x", "2562048h"] {
            assert_eq!(millis(wrong), None, "{wrong:?}");
        }
    }
}
