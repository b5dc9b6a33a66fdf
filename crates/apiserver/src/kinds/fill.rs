//! Filling in what is missing from an object.

use serde_json::{Map, Value};

/// A JSON object, or any map within it.
pub(crate) type Object = Map<String, Value>;

/// Writing to objects without overwriting what their author said; `null` counts as missing.
pub(crate) trait Fill {
    /// Sets `name` to `value` if it is missing.
    fn fill(&mut self, name: &str, value: impl Into<Value>);

    /// Sets `name` to `text` if it is missing or empty.
    fn fill_text(&mut self, name: &str, text: &str);

    /// The map called `name`, made if it is missing.
    fn object(&mut self, name: &str) -> &mut Object;

    /// The map called `name`, if there is one.
    fn object_if_set(&mut self, name: &str) -> Option<&mut Object>;

    /// The maps in the list called `name`; none if it is missing.
    fn objects(&mut self, name: &str) -> impl Iterator<Item = &mut Object>;

    /// The text called `name`, empty if missing.
    fn text(&self, name: &str) -> &str;

    /// Whether `name` has a value.
    fn has(&self, name: &str) -> bool;
}

impl Fill for Object {
    fn fill(&mut self, name: &str, value: impl Into<Value>) {
        if !self.has(name) {
            self.insert(name.to_owned(), value.into());
        }
    }

    fn fill_text(&mut self, name: &str, text: &str) {
        if self.text(name).is_empty() {
            self.insert(name.to_owned(), text.into());
        }
    }

    fn object(&mut self, name: &str) -> &mut Object {
        let slot = self.entry(name).or_insert(Value::Null);
        if !slot.is_object() {
            *slot = Value::Object(Map::new());
        }
        match slot {
            Value::Object(map) => map,
            _ => unreachable!("the slot was made an object two lines above"),
        }
    }

    fn object_if_set(&mut self, name: &str) -> Option<&mut Object> {
        self.get_mut(name).and_then(Value::as_object_mut)
    }

    fn objects(&mut self, name: &str) -> impl Iterator<Item = &mut Object> {
        let items = self.get_mut(name).and_then(Value::as_array_mut).map(Vec::as_mut_slice).unwrap_or_default();
        items.iter_mut().filter_map(Value::as_object_mut)
    }

    fn text(&self, name: &str) -> &str {
        self.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    fn has(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| !value.is_null())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_missing_is_filled_in() {
        let mut object = json!({"a": 1, "b": null, "list": [{}, {"x": 1}]});
        let map = object.as_object_mut().expect("an object");
        map.fill("a", 2);
        map.fill("b", 2);
        map.object("c").fill("d", 2);
        for item in map.objects("list") {
            item.fill("x", 2);
        }
        assert_eq!(object, json!({"a": 1, "b": 2, "list": [{"x": 2}, {"x": 1}], "c": {"d": 2}}));
    }
}
