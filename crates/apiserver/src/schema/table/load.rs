//! Reads `types.json` into the table.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::Value;

use super::{Element, Field, ListType, Message, SOURCE, Scalar, Shape, Strategy, Table};

#[derive(Deserialize)]
struct RawTable {
    kinds: HashMap<String, String>,
    messages: BTreeMap<String, RawMessage>,
}

#[derive(Deserialize)]
struct RawMessage {
    #[serde(default)]
    atomic: bool,
    fields: Option<Vec<RawField>>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct RawField {
    name: String,
    number: u32,
    #[serde(rename = "type")]
    element: String,
    shape: String,
    pointer: bool,
    always: bool,
    inline: bool,
    go: String,
    patch: String,
    key: Option<String>,
    list: String,
    keys: Vec<String>,
    atomic: bool,
    default: Option<Value>,
}

/// The table; the file is part of the program and checked by the tests below.
#[expect(clippy::expect_used, reason = "the file is compiled in, a unit test reads all of it")]
pub(super) fn table() -> Table {
    let raw: RawTable = serde_json::from_str(SOURCE).expect("types.json is well formed");
    let index: HashMap<String, usize> = raw.messages.keys().cloned().zip(0..).collect();
    let kinds: HashMap<String, usize> = raw.kinds.into_iter().map(|(kind, message)| (kind, index[&message])).collect();
    let mut messages: Vec<Message> =
        raw.messages.into_iter().map(|(name, message)| read_message(name, message, &index)).collect();
    for at in 0..messages.len() {
        messages[at].by_name = names_of(&messages, at);
    }
    for (kind, at) in &kinds {
        messages[*at].kinds.push(kind.clone());
    }
    Table { kinds, messages }
}

fn read_message(name: String, raw: RawMessage, index: &HashMap<String, usize>) -> Message {
    let fields: Vec<Field> = raw.fields.unwrap_or_default().into_iter().map(|field| read_field(field, index)).collect();
    let by_number = fields.iter().map(|field| field.number).zip(0..).filter(|(number, _)| *number != 0).collect();
    Message { name, kinds: Vec::new(), atomic: raw.atomic, fields, by_name: HashMap::new(), by_number }
}

fn read_field(raw: RawField, index: &HashMap<String, usize>) -> Field {
    let patch = |word| raw.patch.split(',').any(|strategy| strategy == word);
    Field {
        element: scalar(&raw.element).map_or_else(|| Element::Message(index[&raw.element]), Element::Scalar),
        shape: match raw.shape.as_str() {
            "list" => Shape::List,
            "map" => Shape::Map,
            _ => Shape::Single,
        },
        strategy: Strategy { merge: patch("merge"), replace: patch("replace"), retain_keys: patch("retainKeys") },
        list: match raw.list.as_str() {
            "map" => ListType::Map,
            "set" => ListType::Set,
            _ => ListType::Atomic,
        },
        name: if raw.inline { String::new() } else { raw.name },
        number: raw.number,
        pointer: raw.pointer,
        always: raw.always,
        go: raw.go,
        merge_key: raw.key,
        keys: raw.keys,
        atomic: raw.atomic,
        default: raw.default,
    }
}

fn scalar(word: &str) -> Option<Scalar> {
    Some(match word {
        "string" => Scalar::String,
        "bool" => Scalar::Bool,
        "int32" => Scalar::Int32,
        "int64" => Scalar::Int64,
        "float64" => Scalar::Float64,
        "bytes" => Scalar::Bytes,
        "time" => Scalar::Time,
        "microtime" => Scalar::MicroTime,
        "quantity" => Scalar::Quantity,
        "intorstring" => Scalar::IntOrString,
        "raw" => Scalar::Raw,
        "strings" => Scalar::Strings,
        "schema-or-array" => Scalar::SchemaOrArray,
        "schema-or-bool" => Scalar::SchemaOrBool,
        "schema-or-strings" => Scalar::SchemaOrStrings,
        _ => return None,
    })
}

/// The JSON names of a message and of what is inlined into it.
fn names_of(messages: &[Message], at: usize) -> HashMap<String, (usize, usize)> {
    let mut names = HashMap::new();
    for (place, field) in messages[at].fields.iter().enumerate() {
        match field.element {
            Element::Message(inner) if field.is_inline() => names.extend(names_of(messages, inner)),
            _ => {
                names.insert(field.name.clone(), (at, place));
            }
        }
    }
    names
}
