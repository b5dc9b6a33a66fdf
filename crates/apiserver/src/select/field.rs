//! Field selectors.

use serde_json::Value;

use crate::kinds::Resource;

/// A condition on fields: every term must hold; without any, everything matches.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldSelector {
    terms: Vec<FieldTerm>,
}

/// One condition on one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldTerm {
    /// The field's path, as in `status.phase`.
    pub path: String,
    /// Whether the field must have the value, or must not.
    pub equal: bool,
    /// The value, unescaped.
    pub value: String,
}

/// Why a text is not a field selector, or not one for this kind, in Kubernetes' words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldSelectorError {
    /// A term has no operator.
    #[error("invalid selector: '{selector}'; can't understand '{term}'")]
    NoOperator {
        /// The whole text.
        selector: String,
        /// The term that has none.
        term: String,
    },
    /// A backslash stands before something that needs none.
    #[error("invalid field selector: invalid escape sequence: {sequence}")]
    Escape {
        /// The backslash and what follows it.
        sequence: String,
    },
    /// A value holds an operator that is not escaped.
    #[error("invalid field selector: unescaped character in value: {character}")]
    Unescaped {
        /// The operator.
        character: char,
    },
    /// This kind cannot be selected by that field.
    #[error("{reason}")]
    Unsupported {
        /// The kind's own words.
        reason: String,
    },
}

impl FieldSelector {
    /// The selector written as in `kubectl get --field-selector`: `status.phase!=Running,spec.nodeName=a`.
    ///
    /// # Errors
    /// When a term has no operator or a value is not escaped properly.
    pub fn parse(text: &str) -> Result<Self, FieldSelectorError> {
        let parts = split_terms(text).into_iter().filter(|part| !part.is_empty());
        let terms = parts.map(|part| parse_term(text, part)).collect::<Result<_, _>>()?;
        Ok(Self { terms })
    }

    /// Refuses fields that objects of this kind cannot be selected by.
    ///
    /// # Errors
    /// [`FieldSelectorError::Unsupported`] for the first such field.
    pub fn check(&self, resource: &Resource) -> Result<(), FieldSelectorError> {
        match self.terms.iter().find_map(|term| resource.field_selector_error(&term.path)) {
            Some(reason) => Err(FieldSelectorError::Unsupported { reason }),
            None => Ok(()),
        }
    }

    /// Whether an object satisfies the selector; a field its kind does not offer never does.
    pub fn matches(&self, resource: &Resource, object: &Value) -> bool {
        self.terms.iter().all(|term| {
            resource.selectable_field(object, &term.path).is_some_and(|value| (value == term.value) == term.equal)
        })
    }

    /// The conditions, in the order they were written.
    pub fn terms(&self) -> &[FieldTerm] {
        &self.terms
    }

    /// The value a field must have for anything to match, if the selector says so.
    pub fn required_value(&self, path: &str) -> Option<&str> {
        self.terms.iter().find(|term| term.equal && term.path == path).map(|term| term.value.as_str())
    }
}

/// The parts between commas that are not escaped.
fn split_terms(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (index, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn parse_term(selector: &str, term: &str) -> Result<FieldTerm, FieldSelectorError> {
    let operators = [("!=", false), ("==", true), ("=", true)];
    let found = term.char_indices().find_map(|(at, _)| {
        let (path, rest) = term.split_at(at);
        operators.iter().find_map(|(operator, equal)| Some((path, *equal, rest.strip_prefix(operator)?)))
    });
    let (path, equal, value) =
        found.ok_or_else(|| FieldSelectorError::NoOperator { selector: selector.to_owned(), term: term.to_owned() })?;
    Ok(FieldTerm { path: path.to_owned(), equal, value: unescape(value)? })
}

fn unescape(value: &str) -> Result<String, FieldSelectorError> {
    let mut plain = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => match characters.next() {
                Some(special @ ('\\' | ',' | '=')) => plain.push(special),
                other => {
                    let sequence = format!("\\{}", other.map(String::from).unwrap_or_default());
                    return Err(FieldSelectorError::Escape { sequence });
                }
            },
            ',' | '=' => return Err(FieldSelectorError::Unescaped { character: c }),
            plain_character => plain.push(plain_character),
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::resource;

    #[test]
    fn terms_are_equalities_and_inequalities() {
        let selector = FieldSelector::parse("a=1,b==2,c!=3,,d=x\\,y\\=z\\\\").expect("valid");
        let term = |path: &str, equal, value: &str| FieldTerm { path: path.into(), equal, value: value.into() };
        assert_eq!(
            selector.terms(),
            [term("a", true, "1"), term("b", true, "2"), term("c", false, "3"), term("d", true, "x,y=z\\")]
        );
        assert_eq!(selector.required_value("b"), Some("2"));
        assert_eq!(selector.required_value("c"), None);
    }

    #[test]
    fn errors_are_those_of_kubernetes() {
        let cases = [
            ("a", "invalid selector: 'a'; can't understand 'a'"),
            ("a=1,b", "invalid selector: 'a=1,b'; can't understand 'b'"),
            ("a=\\x", "invalid field selector: invalid escape sequence: \\x"),
            ("a=b=c", "invalid field selector: unescaped character in value: ="),
        ];
        for (text, message) in cases {
            assert_eq!(FieldSelector::parse(text).expect_err(text).to_string(), message);
        }
    }

    #[test]
    fn pods_are_selected_by_phase_and_not_by_image() {
        let pods = resource("", "v1", "pods").expect("pods are served");
        let running = FieldSelector::parse("status.phase=Running,metadata.name!=b").expect("valid");
        assert_eq!(running.check(pods), Ok(()));
        assert!(running.matches(pods, &json!({"metadata": {"name": "a"}, "status": {"phase": "Running"}})));
        assert!(!running.matches(pods, &json!({"metadata": {"name": "b"}, "status": {"phase": "Running"}})));
        assert!(!running.matches(pods, &json!({"metadata": {"name": "a"}})));
        let by_image = FieldSelector::parse("spec.image=x").expect("valid");
        assert_eq!(by_image.check(pods).expect_err("refused").to_string(), "field label not supported: spec.image");
    }
}
