//! Reading values for cells: what is missing reads as nothing.

use serde_json::{Map, Value};

/// What stands in a cell that has nothing to show.
pub(super) const NONE: &str = "<none>";

/// The text, empty if missing.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The text, or `fallback` if it is missing or empty.
pub(super) fn text_or<'a>(value: &'a Value, fallback: &'a str) -> &'a str {
    value.as_str().filter(|text| !text.is_empty()).unwrap_or(fallback)
}

/// The items of a list, none if missing.
pub(super) fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The whole number, 0 if missing.
pub(super) fn count(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

/// How many entries a map has.
pub(super) fn size(value: &Value) -> usize {
    value.as_object().map_or(0, Map::len)
}

/// A map of labels as `a=b,c=d`, sorted.
pub(super) fn labels(value: &Value) -> String {
    let mut pairs: Vec<String> =
        value.as_object().into_iter().flatten().map(|(key, value)| format!("{key}={}", text(value))).collect();
    pairs.sort();
    if pairs.is_empty() { NONE.to_owned() } else { pairs.join(",") }
}

/// The first three entries, and how many more there are.
pub(super) fn first_three(entries: &[String]) -> String {
    const SHOWN: usize = 3;
    match entries.len().checked_sub(SHOWN) {
        Some(more) if more > 0 => format!("{} + {more} more...", entries[..SHOWN].join(",")),
        _ => entries.join(","),
    }
}
