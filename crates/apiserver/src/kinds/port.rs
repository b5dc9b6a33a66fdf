//! The formats of ports and protocols.

use super::field::Field;
use super::names;
use crate::error::FieldError;

/// The protocols a port may speak.
pub(crate) const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const OUT_OF_RANGE: &str = "must be between 1 and 65535, inclusive";

/// What is wrong with a port number; a missing one counts as 0.
pub(crate) fn validate_number(port: &Field<'_>) -> Option<FieldError> {
    let number = port.integer().unwrap_or(0);
    (!(1..=65535).contains(&number)).then(|| FieldError::invalid(port.path(), number, OUT_OF_RANGE))
}

/// What is wrong with a port given by number or by the name of a container's port.
pub(crate) fn validate_number_or_name(port: &Field<'_>) -> Vec<FieldError> {
    match port.text_if_set() {
        Some(_) => port.malformed(names::port_name).collect(),
        None => validate_number(port).into_iter().collect(),
    }
}

/// What is wrong with a protocol.
pub(crate) fn validate_protocol(protocol: &Field<'_>) -> Option<FieldError> {
    protocol.one_of(PROTOCOLS)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ports_are_numbers_in_range_or_names() {
        let cases = [
            (json!(80), vec![]),
            (json!("http"), vec![]),
            (json!(0), vec!["p: Invalid value: 0: must be between 1 and 65535, inclusive"]),
            (json!(65536), vec!["p: Invalid value: 65536: must be between 1 and 65535, inclusive"]),
            (json!("a--b"), vec!["p: Invalid value: \"a--b\": must not contain consecutive hyphens"]),
        ];
        for (value, expected) in cases {
            let errors: Vec<String> =
                validate_number_or_name(&Field::root(&value).at("p")).iter().map(ToString::to_string).collect();
            assert_eq!(errors, expected);
        }
    }
}
