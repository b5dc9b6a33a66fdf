//! What objects of a custom kind look like: the structural schema of a CustomResourceDefinition, compiled.
//!
//! Source: <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/>, part
//! "Specifying a structural schema".

mod check;
mod format;

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Map, Value};

use super::table::{ListType, Message, OBJECT_META, Type};
use format::has_format;

/// What may stand at one place of a custom object.
#[derive(Debug, Default)]
pub(crate) struct Structure {
    /// The JSON type; `None` for any.
    pub kind: Option<JsonType>,
    /// An integer or a string (`x-kubernetes-int-or-string`).
    pub int_or_string: bool,
    /// Members that are not declared stay (`x-kubernetes-preserve-unknown-fields`).
    pub keeps_unknown: bool,
    /// The place holds a whole object, with `apiVersion`, `kind` and `metadata`. So does the root.
    pub embedded: bool,
    pub nullable: bool,
    pub properties: BTreeMap<String, Self>,
    /// What members have that are not among the properties.
    pub additional: Additional,
    pub items: Option<Box<Self>>,
    pub default: Option<Value>,
    pub list: List,
    /// Server-side apply replaces the map as a whole.
    pub atomic: bool,
    /// What values must be besides being of the type.
    pub bounds: Bounds,
}

/// The types a schema may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JsonType {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
}

/// Members of an object that are not among its properties.
#[derive(Debug, Default)]
pub(crate) enum Additional {
    /// There are none.
    #[default]
    None,
    /// Anything.
    Any,
    /// All of this form: the object is a map.
    Of(Box<Structure>),
}

/// How server-side apply treats a list, and what tells its elements apart.
#[derive(Debug)]
pub(crate) struct List {
    pub merge: ListType,
    pub keys: Vec<String>,
    /// What an absent key field means.
    pub defaults: BTreeMap<String, Value>,
}

/// What a value must be besides being of its type; what is not set is not asked for.
#[derive(Debug, Default)]
pub(crate) struct Bounds {
    pub required: Vec<String>,
    pub choices: Vec<Value>,
    pub format: Option<String>,
    pub pattern: Option<Regex>,
    pub minimum: Option<Limit>,
    pub maximum: Option<Limit>,
    pub multiple_of: Option<f64>,
    pub length: Range,
    pub items: Range,
    pub members: Range,
    pub all_of: Vec<Structure>,
    pub any_of: Vec<Structure>,
    pub one_of: Vec<Structure>,
    pub not: Option<Box<Structure>>,
}

/// The end of a range of numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Limit {
    pub value: f64,
    pub excluded: bool,
}

/// How many there may be.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Range {
    pub least: Option<u64>,
    pub most: Option<u64>,
}

/// A pattern that is no regular expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}.pattern: {problem}")]
pub(crate) struct BadPattern {
    pub path: String,
    pub problem: String,
}

impl Default for List {
    fn default() -> Self {
        Self { merge: ListType::Atomic, keys: Vec::new(), defaults: BTreeMap::new() }
    }
}

impl JsonType {
    pub const NAMES: [&'static str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "object" => Self::Object,
            "array" => Self::Array,
            "string" => Self::String,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "boolean" => Self::Boolean,
            _ => return None,
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }

    /// Whether a value is of the type. A number without a fraction is an integer too, however it is written.
    pub fn has(self, value: &Value) -> bool {
        match self {
            Self::Object => value.is_object(),
            Self::Array => value.is_array(),
            Self::String => value.is_string(),
            Self::Integer => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|n| n.fract() == 0.0),
            Self::Number => value.is_number(),
            Self::Boolean => value.is_boolean(),
        }
    }
}

impl Structure {
    /// The compiled form of a whole kind's `openAPIV3Schema`.
    pub fn of_kind(schema: &Value) -> Result<Self, BadPattern> {
        Ok(Self { embedded: true, ..Self::read(schema, "")? })
    }

    /// The compiled form of a part of a schema.
    pub fn of_part(schema: &Value) -> Result<Self, BadPattern> {
        Self::read(schema, "")
    }

    /// A kind of which nothing is known.
    pub fn open() -> Self {
        Self { kind: Some(JsonType::Object), embedded: true, keeps_unknown: true, ..Self::default() }
    }

    fn read(schema: &Value, path: &str) -> Result<Self, BadPattern> {
        let flag = |name: &str| schema[name].as_bool().unwrap_or_default();
        let mut properties = BTreeMap::new();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            properties.insert(name.clone(), Self::read(property, &format!("{path}.properties[{name}]"))?);
        }
        let items = match &schema["items"] {
            Value::Object(_) => Some(Box::new(Self::read(&schema["items"], &format!("{path}.items"))?)),
            _ => None,
        };
        Ok(Self {
            kind: schema["type"].as_str().and_then(JsonType::named),
            int_or_string: flag("x-kubernetes-int-or-string"),
            keeps_unknown: flag("x-kubernetes-preserve-unknown-fields"),
            embedded: flag("x-kubernetes-embedded-resource"),
            nullable: flag("nullable"),
            properties,
            additional: Additional::read(&schema["additionalProperties"], path)?,
            list: List::read(schema, items.as_deref()),
            items,
            default: schema.get("default").filter(|value| !value.is_null()).cloned(),
            atomic: schema["x-kubernetes-map-type"] == "atomic",
            bounds: Bounds::read(schema, path)?,
        })
    }

    /// What stands under a key; `None` if there is no such member.
    pub fn member(&'static self, key: &str) -> Option<Type> {
        match key {
            "metadata" if self.embedded => return Message::named(OBJECT_META).map(Type::Message),
            "apiVersion" | "kind" if self.embedded => return Some(Type::Open),
            _ => {}
        }
        if let Some(property) = self.properties.get(key) {
            return Some(Type::Custom(property));
        }
        match &self.additional {
            Additional::Of(structure) => Some(Type::Custom(structure)),
            Additional::Any => Some(Type::Open),
            Additional::None => self.keeps_unknown.then_some(Type::Open),
        }
    }

    /// What the elements of a list are.
    pub fn item(&'static self) -> Type {
        self.items.as_deref().map_or(Type::Open, Type::Custom)
    }

    /// Whether members of an object are named one by one, as those of a map are not.
    pub fn declares(&self, key: &str) -> bool {
        self.properties.contains_key(key) || (self.embedded && matches!(key, "apiVersion" | "kind" | "metadata"))
    }

    /// Fills in what is missing and has a default.
    pub fn fill_defaults(&self, value: &mut Value) {
        match value {
            Value::Object(members) => self.fill_default_members(members),
            Value::Array(items) => {
                for item in items {
                    self.items.iter().for_each(|structure| structure.fill_defaults(item));
                }
            }
            _ => {}
        }
    }

    /// The same for the members of an object.
    pub fn fill_default_members(&self, members: &mut Map<String, Value>) {
        for (name, property) in &self.properties {
            if let Some(default) = property.default.as_ref().filter(|_| !members.contains_key(name)) {
                members.insert(name.clone(), default.clone());
            }
        }
        for (name, member) in members {
            match (self.properties.get(name), &self.additional) {
                (Some(property), _) => property.fill_defaults(member),
                (None, Additional::Of(structure)) => structure.fill_defaults(member),
                (None, _) => {}
            }
        }
    }
}

impl Additional {
    fn read(schema: &Value, path: &str) -> Result<Self, BadPattern> {
        Ok(match schema {
            Value::Bool(true) => Self::Any,
            Value::Object(_) => Self::Of(Box::new(Structure::read(schema, &format!("{path}.additionalProperties"))?)),
            _ => Self::None,
        })
    }
}

impl List {
    fn read(schema: &Value, items: Option<&Structure>) -> Self {
        let merge = match schema["x-kubernetes-list-type"].as_str() {
            Some("set") => ListType::Set,
            Some("map") => ListType::Map,
            _ => ListType::Atomic,
        };
        let keys = texts(&schema["x-kubernetes-list-map-keys"]);
        let default = |key: &String| Some((key.clone(), items?.properties.get(key)?.default.clone()?));
        Self { merge, defaults: keys.iter().filter_map(default).collect(), keys }
    }
}

impl Bounds {
    fn read(schema: &Value, path: &str) -> Result<Self, BadPattern> {
        let branches = |name: &str| -> Result<Vec<Structure>, BadPattern> {
            let list = schema[name].as_array().map(Vec::as_slice).unwrap_or_default();
            let read = |(index, branch): (usize, &Value)| Structure::read(branch, &format!("{path}.{name}[{index}]"));
            list.iter().enumerate().map(read).collect()
        };
        let limit = |name: &str, exclusive: &str| {
            let excluded = schema[exclusive].as_bool().unwrap_or_default();
            schema[name].as_f64().map(|value| Limit { value, excluded })
        };
        let range = |least: &str, most: &str| Range { least: schema[least].as_u64(), most: schema[most].as_u64() };
        Ok(Self {
            required: texts(&schema["required"]),
            choices: schema["enum"].as_array().cloned().unwrap_or_default(),
            format: schema["format"].as_str().map(str::to_owned),
            pattern: schema["pattern"].as_str().map(|text| compile(text, path)).transpose()?,
            minimum: limit("minimum", "exclusiveMinimum"),
            maximum: limit("maximum", "exclusiveMaximum"),
            multiple_of: schema["multipleOf"].as_f64(),
            length: range("minLength", "maxLength"),
            items: range("minItems", "maxItems"),
            members: range("minProperties", "maxProperties"),
            all_of: branches("allOf")?,
            any_of: branches("anyOf")?,
            one_of: branches("oneOf")?,
            not: match &schema["not"] {
                Value::Object(_) => Some(Box::new(Structure::read(&schema["not"], &format!("{path}.not"))?)),
                _ => None,
            },
        })
    }
}

fn compile(pattern: &str, path: &str) -> Result<Regex, BadPattern> {
    Regex::new(pattern).map_err(|error| BadPattern { path: path.to_owned(), problem: error.to_string() })
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_go_as_deep_as_there_are_objects_to_hold_them() {
        let schema = json!({ "type": "object", "properties": { "spec": { "type": "object", "properties": {
            "mode": { "type": "string", "default": "auto" },
            "deep": { "type": "object", "properties": { "x": { "type": "integer", "default": 1 } } },
            "ports": { "type": "array", "items": { "type": "object", "properties": {
                "protocol": { "type": "string", "default": "TCP" } } } },
        } } } });
        let mut object = json!({ "spec": { "ports": [{}, { "protocol": "UDP" }] } });
        Structure::of_kind(&schema).unwrap().fill_defaults(&mut object);
        let expected = json!({ "spec": { "ports": [{ "protocol": "TCP" }, { "protocol": "UDP" }], "mode": "auto" } });
        assert_eq!(object, expected);
    }

    #[test]
    fn a_pattern_that_does_not_compile_is_named() {
        let schema = json!({ "properties": { "a": { "items": { "pattern": "(" } } } });
        assert_eq!(Structure::of_kind(&schema).unwrap_err().path, ".properties[a].items");
    }
}
