//! What a setting may be set to.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Map, Value, json};

/// The kinds of values, each with its check and its JSON schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A word: names, versions, paths, host names.
    Word,
    /// A word, or nothing.
    OptionalWord,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// An IP address.
    Address,
    /// Ranges of addresses separated by commas, or nothing.
    Ranges,
    /// A port as a container's environment carries it: a number, or a reference to another variable.
    PortText,
    /// A port.
    Port,
    /// How many.
    Count,
    /// Yes or no.
    Flag,
    /// A list of the API's objects.
    List,
    /// A part of one of the API's objects.
    Object,
}

/// What words are made of: nothing that YAML or a template would read as anything but text.
const WORD: &str = r"^[A-Za-z0-9_./:@$()-]+$";

impl Kind {
    /// Whether values are text.
    pub(crate) fn is_text(self) -> bool {
        !matches!(self, Self::Port | Self::Count | Self::Flag | Self::List | Self::Object)
    }

    /// The value that `text`, as typed on a command line, stands for; or what would be right.
    pub(crate) fn parse(self, text: &str) -> Result<Value, String> {
        let value = if self.is_text() {
            Value::from(text)
        } else {
            serde_saphyr::from_str(text).map_err(|_| self.expected())?
        };
        self.admit(value)
    }

    /// The value as it is kept, or what would be right.
    pub(crate) fn admit(self, value: Value) -> Result<Value, String> {
        let value = match value {
            // As in Helm's `--set`, where what looks like a number is one.
            Value::Number(number) if self.is_text() => Value::from(number.to_string()),
            other => other,
        };
        if self.admits(&value) { Ok(value) } else { Err(self.expected()) }
    }

    fn admits(self, value: &Value) -> bool {
        match (self, value) {
            (Self::Word, Value::String(text)) => is_word(text),
            (Self::OptionalWord, Value::String(text)) => text.is_empty() || is_word(text),
            (Self::Choice(choices), Value::String(text)) => choices.contains(&text.as_str()),
            (Self::Address, Value::String(text)) => text.parse::<IpAddr>().is_ok(),
            (Self::Ranges, Value::String(text)) => {
                text.is_empty() || text.split(',').all(|range| range.parse::<IpNet>().is_ok())
            }
            (Self::PortText, Value::String(text)) => {
                text.starts_with("$(") && is_word(text) || text.parse().is_ok_and(|port: u16| port > 0)
            }
            (Self::Port, Value::Number(number)) => number.as_u64().is_some_and(|port| (1..=65535).contains(&port)),
            (Self::Count, Value::Number(number)) => number.as_u64().is_some(),
            (Self::Flag, Value::Bool(_)) | (Self::List, Value::Array(_)) | (Self::Object, Value::Object(_)) => true,
            _ => false,
        }
    }

    fn expected(self) -> String {
        match self {
            Self::Word => "a word of letters, digits and _./:@$()-".to_owned(),
            Self::OptionalWord => "a word of letters, digits and _./:@$()-, or nothing".to_owned(),
            Self::Choice(choices) => format!("one of {}", choices.join(", ")),
            Self::Address => "an IP address".to_owned(),
            Self::Ranges => "ranges such as 10.244.0.0/16,fd00::/48, or nothing".to_owned(),
            Self::PortText | Self::Port => "a port, 1 to 65535".to_owned(),
            Self::Count => "a number, 0 or more".to_owned(),
            Self::Flag => "true or false".to_owned(),
            Self::List => "a list, such as [{operator: Exists}]".to_owned(),
            Self::Object => "an object, such as {requests: {memory: 64Mi}}".to_owned(),
        }
    }

    /// The JSON schema of its values.
    pub(crate) fn schema(self) -> Map<String, Value> {
        let schema = match self {
            Self::Word => json!({ "type": "string", "pattern": WORD }),
            Self::OptionalWord => json!({ "type": "string", "pattern": WORD.replace('+', "*") }),
            Self::Choice(choices) => json!({ "type": "string", "enum": choices }),
            Self::Address => json!({ "type": "string", "pattern": "^[0-9A-Fa-f:.]+$" }),
            Self::Ranges => json!({ "type": "string", "pattern": "^([0-9A-Fa-f:.]+/[0-9]+(,|$))*$" }),
            Self::PortText => json!({ "type": ["string", "integer"], "pattern": r"^([0-9]+|\$\([A-Z_]+\))$" }),
            Self::Port => json!({ "type": "integer", "minimum": 1, "maximum": 65535 }),
            Self::Count => json!({ "type": "integer", "minimum": 0 }),
            Self::Flag => json!({ "type": "boolean" }),
            Self::List => json!({ "type": "array", "items": { "type": "object" } }),
            Self::Object => json!({ "type": "object" }),
        };
        match schema {
            Value::Object(schema) => schema,
            _ => unreachable!("every arm is an object"),
        }
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|letter| letter.is_ascii_alphanumeric() || "_./:@$()-".contains(letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_taken_as_it_is_and_the_rest_as_yaml() {
        assert_eq!(Kind::Word.parse("0.1").unwrap(), "0.1");
        assert_eq!(Kind::Count.parse("3").unwrap(), 3);
        assert_eq!(Kind::List.parse("[{operator: Exists}]").unwrap(), json!([{ "operator": "Exists" }]));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_would() {
        for (kind, wrong, expected) in [
            (Kind::Word, "two words", "a word"),
            (Kind::Word, "", "a word"),
            (Kind::Choice(&["a", "b"]), "c", "one of a, b"),
            (Kind::Address, "10.96.0", "an IP address"),
            (Kind::Ranges, "10.244.0.0", "ranges such as"),
            (Kind::PortText, "70000", "a port"),
            (Kind::Port, "0", "a port"),
            (Kind::Count, "-1", "a number"),
            (Kind::Flag, "perhaps", "true or false"),
            (Kind::Object, "[]", "an object"),
        ] {
            let why = kind.parse(wrong).unwrap_err();
            assert!(why.starts_with(expected), "{kind:?} {wrong}: {why}");
        }
    }

    #[test]
    fn a_number_stands_for_its_digits_where_text_is_wanted() {
        assert_eq!(Kind::PortText.admit(json!(6443)).unwrap(), "6443");
    }
}
