//! `FieldsV1`, the JSON form of a set.

use serde_json::{Map, Value};

use super::{FieldSet, Node, PathElement};

/// Deeper than any kind, so that a hostile `managedFields` cannot exhaust the stack.
const MAX_DEPTH: usize = 100;

impl FieldSet {
    /// Reads the JSON form; nothing when it is malformed.
    pub fn from_v1(fields: &Value) -> Option<Self> {
        Self::read(fields.as_object()?, 0)
    }

    fn read(fields: &Map<String, Value>, depth: usize) -> Option<Self> {
        if depth > MAX_DEPTH {
            return None;
        }
        let mut set = Self::default();
        for (key, value) in fields.iter().filter(|(key, _)| *key != ".") {
            let inner = value.as_object()?;
            let member = inner.is_empty() || inner.contains_key(".");
            set.nodes.insert(PathElement::from_v1(key)?, Node { member, below: Self::read(inner, depth + 1)? });
        }
        Some(set)
    }

    /// The JSON form.
    pub fn to_v1(&self) -> Value {
        Value::Object(self.write())
    }

    fn write(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        for (element, node) in &self.nodes {
            let mut inner = node.below.write();
            if node.member && !inner.is_empty() {
                inner.shift_insert(0, ".".into(), Value::Object(Map::new()));
            }
            fields.insert(element.to_v1(), Value::Object(inner));
        }
        fields
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn element() -> impl Strategy<Value = PathElement> {
        let scalar = || prop_oneof![any::<i32>().prop_map(Value::from), "[a-z\"]{0,3}".prop_map(Value::from)];
        prop_oneof![
            "[a-z.:/]{1,4}".prop_map(|name| PathElement::field(&name)),
            scalar().prop_map(|value| PathElement::Value(value.to_string())),
            proptest::collection::btree_map("[a-z]{1,2}", scalar().prop_map(|value| value.to_string()), 1..3)
                .prop_map(PathElement::Keys),
            any::<u64>().prop_map(PathElement::Index),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(paths in proptest::collection::vec(proptest::collection::vec(element(), 1..4), 0..8)) {
            let mut set = FieldSet::default();
            for path in &paths {
                set.insert(path);
            }
            prop_assert_eq!(FieldSet::from_v1(&set.to_v1()), Some(set));
        }
    }

    #[test]
    fn malformed_fields_are_nothing() {
        for fields in
            [json!([]), json!({ "x:a": {} }), json!({ "f:a": 1 }), json!({ "k:[]": {} }), json!({ "noprefix": {} })]
        {
            assert_eq!(FieldSet::from_v1(&fields), None, "{fields}");
        }
    }
}
