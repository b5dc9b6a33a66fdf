//! A cursor over an object that knows the path of what it points at.

use serde_json::{Map, Value};

use super::names::Format;
use crate::error::FieldError;

/// A place in an object: the value there, if any, and its path as error texts write it.
///
/// Reading through a missing value gives a missing value, so that a rule reads like the path it is about. `null` and a
/// value of another type than the one asked for count as missing: decoding refuses wrong types before any rule is asked.
#[derive(Debug, Clone)]
pub(crate) struct Field<'a> {
    value: Option<&'a Value>,
    path: String,
}

impl<'a> Field<'a> {
    /// The whole object.
    pub fn root(object: &'a Value) -> Self {
        Self { value: Some(object), path: String::new() }
    }

    /// No object at all.
    pub fn nothing() -> Self {
        Self { value: None, path: String::new() }
    }

    /// The member `name`: `spec.ports`.
    pub fn get(&self, name: &str) -> Self {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        Self { value: self.member(name), path }
    }

    /// The entry `key` of a map: `metadata.labels[app]`.
    pub fn key(&self, key: &str) -> Self {
        Self { value: self.member(key), path: format!("{}[{key}]", self.path) }
    }

    /// The same value under another path, for fields that errors name differently.
    pub fn at(&self, path: impl Into<String>) -> Self {
        Self { value: self.value, path: path.into() }
    }

    fn member(&self, name: &str) -> Option<&'a Value> {
        self.value.and_then(|value| value.get(name)).filter(|value| !value.is_null())
    }

    /// The items of a list, each with its index; none if it is missing.
    pub fn items(&self) -> impl DoubleEndedIterator<Item = Field<'a>> + ExactSizeIterator + use<'a> {
        let path = self.path.clone();
        let items = self.list();
        items.iter().enumerate().map(move |(index, item)| Self { value: Some(item), path: format!("{path}[{index}]") })
    }

    /// The entries of a map, each with its key; none if it is missing.
    pub fn entries(&self) -> impl Iterator<Item = (&'a str, Field<'a>)> + use<'a> {
        let path = self.path.clone();
        let entries = self.map().into_iter().flatten();
        entries.map(move |(key, value)| (key.as_str(), Self { value: Some(value), path: format!("{path}[{key}]") }))
    }

    /// The path as error texts write it.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The value, unless missing.
    pub fn value(&self) -> Option<&'a Value> {
        self.value
    }

    /// Whether there is a value.
    pub fn is_set(&self) -> bool {
        self.value.is_some()
    }

    /// Whether there is nothing: no value, or an empty string, list or map.
    pub fn is_empty(&self) -> bool {
        match self.value {
            None | Some(Value::Null) => true,
            Some(Value::String(text)) => text.is_empty(),
            Some(Value::Array(items)) => items.is_empty(),
            Some(Value::Object(entries)) => entries.is_empty(),
            Some(Value::Bool(_) | Value::Number(_)) => false,
        }
    }

    /// The text, empty if missing.
    pub fn text(&self) -> &'a str {
        self.value.and_then(Value::as_str).unwrap_or_default()
    }

    /// The text, unless missing.
    pub fn text_if_set(&self) -> Option<&'a str> {
        self.value.and_then(Value::as_str)
    }

    /// The whole number, unless missing.
    pub fn integer(&self) -> Option<i64> {
        self.value.and_then(Value::as_i64)
    }

    /// The truth value, false if missing.
    pub fn truth(&self) -> bool {
        self.value.and_then(Value::as_bool).unwrap_or_default()
    }

    /// The list, empty if missing.
    pub fn list(&self) -> &'a [Value] {
        self.value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
    }

    /// The texts of a list of texts.
    pub fn texts(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.list().iter().filter_map(Value::as_str)
    }

    /// The map, unless missing.
    pub fn map(&self) -> Option<&'a Map<String, Value>> {
        self.value.and_then(Value::as_object)
    }

    /// The value is missing.
    pub fn required(&self, detail: impl Into<String>) -> FieldError {
        FieldError::required(&self.path, detail)
    }

    /// The value is wrong; `detail` says what would be right.
    pub fn invalid(&self, detail: impl Into<String>) -> FieldError {
        FieldError::invalid(&self.path, self.shown(), detail)
    }

    /// The value is not one of `supported`.
    pub fn not_supported(&self, supported: &[&str]) -> FieldError {
        FieldError::not_supported(&self.path, self.shown(), supported)
    }

    /// Demands one of `supported` (sorted): what is wrong if the value is missing or another.
    pub fn one_of(&self, supported: &[&str]) -> Option<FieldError> {
        if self.is_empty() {
            return Some(self.required(""));
        }
        (!supported.contains(&self.text())).then(|| self.not_supported(supported))
    }

    /// The value is malformed in the ways `rule` finds.
    pub fn malformed(&self, rule: Format) -> impl Iterator<Item = FieldError> + use<'a> {
        let field = self.clone();
        rule(self.text()).into_iter().map(move |wrong| field.invalid(wrong))
    }

    /// The value stands elsewhere already.
    pub fn duplicate(&self) -> FieldError {
        FieldError::duplicate(&self.path, self.shown())
    }

    /// The field may not be set or changed.
    pub fn forbidden(&self, detail: impl Into<String>) -> FieldError {
        FieldError::forbidden(&self.path, detail)
    }

    /// What the value refers to does not exist.
    pub fn not_found(&self) -> FieldError {
        FieldError::not_found(&self.path, self.shown())
    }

    /// The value as an error text shows it: a missing one as the empty text.
    fn shown(&self) -> Value {
        self.value.cloned().unwrap_or_else(|| Value::String(String::new()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_are_written_as_kubernetes_writes_them() {
        let object = json!({"spec": {"ports": [{"port": 0}]}, "metadata": {"labels": {"a.b/c": "?"}}});
        let root = Field::root(&object);
        let port = root.get("spec").get("ports").items().next().expect("one port").get("port");
        assert_eq!(port.path(), "spec.ports[0].port");
        assert_eq!(root.get("metadata").get("labels").key("a.b/c").path(), "metadata.labels[a.b/c]");
    }

    #[test]
    fn reading_through_what_is_missing_gives_nothing() {
        let object = json!({"spec": null});
        let ports = Field::root(&object).get("spec").get("ports");
        assert!(!ports.is_set());
        assert_eq!((ports.items().len(), ports.text(), ports.integer()), (0, "", None));
    }

    #[test]
    fn a_missing_value_is_shown_as_the_empty_text() {
        let object = json!({});
        let name = Field::root(&object).get("name");
        assert_eq!(name.invalid("must not be empty").to_string(), "name: Invalid value: \"\": must not be empty");
    }
}
