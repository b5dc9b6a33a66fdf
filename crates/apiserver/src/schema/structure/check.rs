//! Values against a structure, in the words of Kubernetes.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::{Additional, Bounds, JsonType, Limit, Range, Structure, has_format};
use crate::error::{FieldError, FieldErrorReason};
use crate::schema::table::ListType;

impl Structure {
    /// Everything in `value` that is not as the structure says; `path` is where the value stands.
    pub fn check(&self, value: &Value, path: &str) -> Vec<FieldError> {
        if value.is_null() && self.nullable {
            return Vec::new();
        }
        if let Some(error) = self.wrong_type(value, path) {
            return vec![error];
        }
        let mut errors = self.bounds.check(value, path);
        match value {
            Value::Object(members) => errors.extend(self.check_members(members, path)),
            Value::Array(items) => errors.extend(self.check_items(items, path)),
            _ => {}
        }
        errors
    }

    fn wrong_type(&self, value: &Value, path: &str) -> Option<FieldError> {
        if self.int_or_string {
            let fits = JsonType::Integer.has(value) || value.is_string();
            return (!fits).then(|| type_error(path, "integer,string", value));
        }
        let kind = self.kind?;
        (!kind.has(value)).then(|| type_error(path, kind.name(), value))
    }

    fn check_members(&self, members: &Map<String, Value>, path: &str) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for (name, member) in members {
            let below = join(path, name);
            match (self.properties.get(name), &self.additional) {
                // The metadata of a whole object has rules of its own.
                _ if self.embedded && matches!(name.as_str(), "apiVersion" | "kind" | "metadata") => {}
                (Some(property), _) => errors.extend(property.check(member, &below)),
                (None, Additional::Of(structure)) => errors.extend(structure.check(member, &below)),
                (None, Additional::None | Additional::Any) => {}
            }
        }
        errors
    }

    fn check_items(&self, items: &[Value], path: &str) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut seen = HashSet::new();
        for (index, item) in items.iter().enumerate() {
            let below = format!("{path}[{index}]");
            if let Some(structure) = &self.items {
                errors.extend(structure.check(item, &below));
            }
            if let Some(identity) = self.identity(item).filter(|identity| !seen.insert(identity.to_string())) {
                errors.push(FieldError::duplicate(below, identity));
            }
        }
        errors
    }

    /// What must not stand twice in a list.
    fn identity(&self, item: &Value) -> Option<Value> {
        match self.list.merge {
            ListType::Atomic => None,
            ListType::Set => Some(item.clone()),
            ListType::Map => {
                let value = |key: &String| item.get(key).or_else(|| self.list.defaults.get(key)).cloned();
                Some(self.list.keys.iter().filter_map(|key| Some((key.clone(), value(key)?))).collect())
            }
        }
    }
}

impl Bounds {
    fn check(&self, value: &Value, path: &str) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if !self.choices.is_empty() && !self.choices.contains(value) {
            let choices: Vec<String> = self.choices.iter().map(choice_text).collect();
            let choices: Vec<&str> = choices.iter().map(String::as_str).collect();
            errors.push(FieldError::not_supported(path, value.clone(), &choices));
        }
        if let Some(format) = self.format.as_deref().filter(|format| !has_format(format, value)) {
            errors.push(in_body(path, value, format!("must be of type {format}: {value}")));
        }
        match value {
            Value::Object(members) => self.check_object(members, path, &mut errors),
            Value::Array(items) => errors.extend(count_error(path, items.len(), self.items, "items")),
            Value::String(text) => self.check_text(text, path, &mut errors),
            Value::Number(number) => {
                errors.extend(number.as_f64().into_iter().flat_map(|number| self.check_number(number, value, path)));
            }
            Value::Null | Value::Bool(_) => {}
        }
        errors.extend(self.check_branches(value, path));
        errors
    }

    fn check_object(&self, members: &Map<String, Value>, path: &str, errors: &mut Vec<FieldError>) {
        let missing = self.required.iter().filter(|name| !members.contains_key(*name));
        errors.extend(missing.map(|name| FieldError::required(join(path, name), "")));
        errors.extend(count_error(path, members.len(), self.members, "properties"));
    }

    fn check_text(&self, text: &str, path: &str, errors: &mut Vec<FieldError>) {
        let length = text.chars().count();
        let value = Value::from(text);
        if let Some(least) = self.length.least.filter(|least| (length as u64) < *least) {
            errors.push(in_body(path, &value, format!("should be at least {least} chars long")));
        }
        if let Some(most) = self.length.most.filter(|most| length as u64 > *most) {
            errors.push(FieldError::too_long(path, usize::try_from(most).unwrap_or(usize::MAX)));
        }
        if let Some(pattern) = self.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
            errors.push(in_body(path, &value, format!("should match '{pattern}'")));
        }
    }

    fn check_number(&self, number: f64, value: &Value, path: &str) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let beyond = |limit: &Limit, outside: bool| outside || (limit.excluded && number == limit.value);
        if let Some(limit) = self.minimum.filter(|limit| beyond(limit, number < limit.value)) {
            let or_equal = if limit.excluded { "" } else { " or equal to" };
            errors.push(in_body(path, value, format!("should be greater than{or_equal} {}", limit.value)));
        }
        if let Some(limit) = self.maximum.filter(|limit| beyond(limit, number > limit.value)) {
            let or_equal = if limit.excluded { "" } else { " or equal to" };
            errors.push(in_body(path, value, format!("should be less than{or_equal} {}", limit.value)));
        }
        if let Some(factor) = self.multiple_of.filter(|factor| (number / factor).fract() != 0.0) {
            errors.push(in_body(path, value, format!("should be a multiple of {factor}")));
        }
        errors
    }

    fn check_branches(&self, value: &Value, path: &str) -> Vec<FieldError> {
        let fits = |branch: &Structure| branch.check(value, path).is_empty();
        let mut errors: Vec<FieldError> = self.all_of.iter().flat_map(|branch| branch.check(value, path)).collect();
        if !self.any_of.is_empty() && !self.any_of.iter().any(fits) {
            errors.push(alone(path, value, "must validate at least one schema (anyOf)"));
        }
        if !self.one_of.is_empty() && self.one_of.iter().filter(|branch| fits(branch)).count() != 1 {
            errors.push(alone(path, value, "must validate one and only one schema (oneOf)"));
        }
        if self.not.as_ref().is_some_and(|branch| fits(branch)) {
            errors.push(alone(path, value, "must not validate the schema (not)"));
        }
        errors
    }
}

fn count_error(path: &str, count: usize, range: Range, what: &str) -> Option<FieldError> {
    if let Some(least) = range.least.filter(|least| (count as u64) < *least) {
        return Some(in_body(path, &Value::from(count), format!("should have at least {least} {what}")));
    }
    let most = range.most.filter(|most| count as u64 > *most)?;
    Some(FieldError::too_many(path, count, usize::try_from(most).unwrap_or(usize::MAX)))
}

fn type_error(path: &str, expected: &str, value: &Value) -> FieldError {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let detail = format!("{path} in body must be of type {expected}: {found:?}");
    FieldError { reason: FieldErrorReason::TypeInvalid, ..FieldError::invalid(path, found, detail) }
}

fn in_body(path: &str, value: &Value, problem: impl AsRef<str>) -> FieldError {
    FieldError::invalid(path, value.clone(), format!("{path} in body {}", problem.as_ref()))
}

fn alone(path: &str, value: &Value, problem: &str) -> FieldError {
    let place = if path.is_empty() { "<nil>" } else { path };
    FieldError::invalid(place, value.clone(), format!("{place} {problem}"))
}

fn choice_text(choice: &Value) -> String {
    choice.as_str().map_or_else(|| choice.to_string(), str::to_owned)
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problems(schema: &Value, value: &Value) -> Vec<String> {
        let structure = Structure::of_kind(&json!({ "type": "object", "properties": { "spec": schema } })).unwrap();
        structure.check(&json!({ "spec": value }), "").iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_bound_is_told_in_the_words_of_kubernetes() {
        let cases = [
            (
                json!({ "type": "integer" }),
                json!("a"),
                r#"spec: Invalid value: "string": spec in body must be of type integer: "string""#,
            ),
            (json!({ "type": "object", "required": ["a"] }), json!({}), "spec.a: Required value"),
            (
                json!({ "type": "string", "enum": ["a", "b"] }),
                json!("c"),
                r#"spec: Unsupported value: "c": supported values: "a", "b""#,
            ),
            (
                json!({ "type": "string", "pattern": "^a+$" }),
                json!("b"),
                r#"spec: Invalid value: "b": spec in body should match '^a+$'"#,
            ),
            (
                json!({ "type": "integer", "minimum": 1 }),
                json!(0),
                "spec: Invalid value: 0: spec in body should be greater than or equal to 1",
            ),
            (
                json!({ "type": "number", "maximum": 1, "exclusiveMaximum": true }),
                json!(1),
                "spec: Invalid value: 1: spec in body should be less than 1",
            ),
            (
                json!({ "type": "array", "items": { "type": "string" }, "minItems": 1 }),
                json!([]),
                "spec: Invalid value: 0: spec in body should have at least 1 items",
            ),
            (
                json!({ "type": "array", "items": { "type": "string" }, "maxItems": 1 }),
                json!(["a", "b"]),
                "spec: Too many: 2: must have at most 1 item",
            ),
            (
                json!({ "type": "string", "format": "ipv4" }),
                json!("x"),
                r#"spec: Invalid value: "x": spec in body must be of type ipv4: "x""#,
            ),
            (
                json!({ "type": "array", "items": { "type": "string" }, "x-kubernetes-list-type": "set" }),
                json!(["a", "a"]),
                r#"spec[1]: Duplicate value: "a""#,
            ),
            (
                json!({ "x-kubernetes-int-or-string": true }),
                json!(true),
                r#"spec: Invalid value: "boolean": spec in body must be of type integer,string: "boolean""#,
            ),
        ];
        for (schema, value, expected) in cases {
            assert_eq!(problems(&schema, &value), [expected]);
        }
    }

    #[test]
    fn branches_decide_together() {
        let schema = json!({ "type": "object", "oneOf": [{ "required": ["a"] }, { "required": ["b"] }] });
        assert!(problems(&schema, &json!({ "a": 1 })).is_empty());
        assert_eq!(problems(&schema, &json!({ "a": 1, "b": 1 })).len(), 1);
        let not = json!({ "type": "string", "not": { "enum": ["x"] } });
        assert!(problems(&not, &json!("y")).is_empty());
        assert_eq!(problems(&not, &json!("x")).len(), 1);
    }

    #[test]
    fn null_is_a_value_only_where_the_schema_says_so() {
        assert!(problems(&json!({ "type": "string", "nullable": true }), &Value::Null).is_empty());
        assert_eq!(problems(&json!({ "type": "string" }), &Value::Null).len(), 1);
    }
}
