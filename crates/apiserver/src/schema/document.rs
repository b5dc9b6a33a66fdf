//! JSON and YAML text to a value, noticing members that stand twice.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// A value, and the paths of members that stood more than once; the last one counts.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Document {
    pub value: Value,
    pub duplicates: Vec<String>,
}

/// Parses JSON text. Deeper nesting than 128 is an error.
pub(super) fn from_json(text: &[u8]) -> Result<Document, serde_json::Error> {
    let duplicates = RefCell::default();
    let mut json = serde_json::Deserializer::from_slice(text);
    let value = Node { path: String::new(), duplicates: &duplicates }.deserialize(&mut json)?;
    json.end()?;
    Ok(Document { value, duplicates: duplicates.into_inner() })
}

/// Parses one YAML document, with the words for booleans and octal numbers that YAML 1.1 had and manifests use.
pub(super) fn from_yaml(text: &[u8]) -> Result<Document, serde_saphyr::Error> {
    let options = serde_saphyr::options! {
        duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::PassThrough,
        legacy_octal_numbers: true,
    };
    let duplicates = RefCell::default();
    let root = Node { path: String::new(), duplicates: &duplicates };
    let value = serde_saphyr::with_deserializer_from_slice_with_options(text, options, |yaml| root.deserialize(yaml))?;
    Ok(Document { value, duplicates: duplicates.into_inner() })
}

/// Reads the value at `path`.
struct Node<'a> {
    path: String,
    duplicates: &'a RefCell<Vec<String>>,
}

impl Node<'_> {
    fn member(&self, key: &str) -> Self {
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        Self { path, duplicates: self.duplicates }
    }

    fn item(&self, index: usize) -> Self {
        Self { path: format!("{}[{index}]", self.path), duplicates: self.duplicates }
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self.item(list.len()))? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            let node = self.member(&key);
            if object.contains_key(&key) {
                self.duplicates.borrow_mut().push(node.path.clone());
            }
            let value = members.next_value_seed(node)?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_member_that_stands_twice_is_named_and_the_last_counts() {
        let read = from_json(br#"{"spec":{"a":[{"b":1,"b":2}],"c":1,"c":2}}"#).unwrap();
        assert_eq!(read.value, json!({ "spec": { "a": [{ "b": 2 }], "c": 2 } }));
        assert_eq!(read.duplicates, ["spec.a[0].b", "spec.c"]);
    }

    #[test]
    fn yaml_reads_as_manifests_are_written() {
        let read = from_yaml(b"a: yes\nb: 0644\nc: '1'\nd: [1, 2.5, ~]\ne: {x: y}\ne: 1\n1: z\n").unwrap();
        assert_eq!(read.value, json!({ "a": true, "b": 420, "c": "1", "d": [1, 2.5, null], "e": 1, "1": "z" }));
        assert_eq!(read.duplicates, ["e"]);
    }

    #[test]
    fn text_after_the_document_is_refused() {
        assert!(from_json(b"{} {}").is_err());
    }

    #[test]
    fn bottomless_nesting_is_refused() {
        assert!(from_json("[".repeat(100_000).as_bytes()).is_err());
        assert!(from_yaml("[".repeat(100_000).as_bytes()).is_err());
    }
}
