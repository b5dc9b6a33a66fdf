//! Messages: fields to members, by the table.

use serde_json::{Map, Value, map::Entry};

use super::wire::{Reader, Wire};
use super::{MAX_DEPTH, ProtobufError, scalar};
use crate::schema::table::{Element, Field, Message, Scalar, Shape, Type};

/// Adds the fields of a message to `object`. Fields that the table does not have are skipped, as Kubernetes does.
pub(super) fn decode_into(
    object: &mut Map<String, Value>,
    message: &'static Message,
    bytes: &[u8],
    depth: usize,
) -> Result<(), ProtobufError> {
    if depth > MAX_DEPTH {
        return Err(ProtobufError::TooDeep);
    }
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.next_field()? {
        let Some(field) = message.numbered(number) else { continue };
        match field.shape {
            Shape::Single => add_single(object, field, wire, depth)?,
            Shape::List => add_items(object, field, wire, depth)?,
            Shape::Map => add_entry(object, field, wire, depth)?,
        }
    }
    Ok(())
}

fn add_single(
    object: &mut Map<String, Value>,
    field: &'static Field,
    wire: Wire<'_>,
    depth: usize,
) -> Result<(), ProtobufError> {
    match (field.element.holds(), wire) {
        (Type::Message(message), Wire::Bytes(bytes)) if field.is_inline() => {
            decode_into(object, message, bytes, depth + 1)
        }
        (Type::Message(message), Wire::Bytes(bytes)) => {
            let member = object.entry(field.name.clone()).or_insert_with(|| Value::Object(Map::new()));
            let Value::Object(member) = member else { return Err(wrong_wire_type(field)) };
            decode_into(member, message, bytes, depth + 1)
        }
        _ => {
            let value = element(field, wire, depth)?;
            object.insert(field.name.clone(), value);
            Ok(())
        }
    }
}

fn add_items(
    object: &mut Map<String, Value>,
    field: &'static Field,
    wire: Wire<'_>,
    depth: usize,
) -> Result<(), ProtobufError> {
    let is_number = matches!(field.element, Element::Scalar(Scalar::Int32 | Scalar::Int64 | Scalar::Bool));
    let mut items = Vec::new();
    match wire {
        Wire::Bytes(packed) if is_number => {
            let mut reader = Reader::new(packed);
            while let Some(number) = reader.next_packed()? {
                items.push(element(field, Wire::Varint(number), depth)?);
            }
        }
        _ => items.push(element(field, wire, depth)?),
    }
    match object.entry(field.name.clone()) {
        Entry::Vacant(vacant) => {
            vacant.insert(Value::Array(items));
        }
        Entry::Occupied(mut list) => list.get_mut().as_array_mut().ok_or_else(|| wrong_wire_type(field))?.extend(items),
    }
    Ok(())
}

fn add_entry(
    object: &mut Map<String, Value>,
    field: &'static Field,
    wire: Wire<'_>,
    depth: usize,
) -> Result<(), ProtobufError> {
    let Wire::Bytes(bytes) = wire else { return Err(wrong_wire_type(field)) };
    let (mut key, mut value) = (String::new(), None);
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.next_field()? {
        match (number, wire) {
            (1, Wire::Bytes(text)) => key = String::from_utf8_lossy(text).into_owned(),
            (2, wire) => value = Some(element(field, wire, depth)?),
            _ => {}
        }
    }
    let value = value.unwrap_or_else(|| scalar::zero(field.element));
    let map = object.entry(field.name.clone()).or_insert_with(|| Value::Object(Map::new()));
    map.as_object_mut().ok_or_else(|| wrong_wire_type(field))?.insert(key, value);
    Ok(())
}

/// One value: a field's own, a list's item, a map's value.
fn element(field: &'static Field, wire: Wire<'_>, depth: usize) -> Result<Value, ProtobufError> {
    match (field.element, field.element.holds(), wire) {
        (_, Type::Message(message), Wire::Bytes(bytes)) => object(message, bytes, depth),
        (Element::Scalar(scalar), _, Wire::Bytes(bytes)) if is_schema_choice(scalar) => {
            schema_choice(scalar, bytes, depth)
        }
        (Element::Scalar(scalar), _, wire) => scalar::decode(scalar, wire).ok_or_else(|| match scalar {
            Scalar::Raw => ProtobufError::NotJson { field: field.name.clone() },
            _ => wrong_wire_type(field),
        }),
        (Element::Message(_), ..) => Err(wrong_wire_type(field)),
    }
}

fn object(message: &'static Message, bytes: &[u8], depth: usize) -> Result<Value, ProtobufError> {
    let mut object = Map::new();
    decode_into(&mut object, message, bytes, depth + 1)?;
    Ok(Value::Object(object))
}

fn is_schema_choice(scalar: Scalar) -> bool {
    matches!(scalar, Scalar::SchemaOrArray | Scalar::SchemaOrBool | Scalar::SchemaOrStrings)
}

/// The places in a JSON schema that hold a schema or something else. Field 1 is the schema and 2 the list, except
/// that a schema-or-bool has the bool in 1 and the schema in 2.
fn schema_choice(scalar: Scalar, bytes: &[u8], depth: usize) -> Result<Value, ProtobufError> {
    const SCHEMA: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";
    let props = Message::named(SCHEMA)
        .ok_or_else(|| ProtobufError::UnknownKind { kind: SCHEMA.into(), api_version: String::new() })?;
    let (mut schema, mut allowed, mut items) = (None, false, Vec::new());
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.next_field()? {
        match (scalar, number, wire) {
            (Scalar::SchemaOrBool, 1, Wire::Varint(bit)) => allowed = bit != 0,
            (Scalar::SchemaOrBool, 2, Wire::Bytes(inner)) | (_, 1, Wire::Bytes(inner)) => {
                schema = Some(object(props, inner, depth)?);
            }
            (Scalar::SchemaOrArray, 2, Wire::Bytes(inner)) => items.push(object(props, inner, depth)?),
            (Scalar::SchemaOrStrings, 2, Wire::Bytes(text)) => items.push(String::from_utf8_lossy(text).into()),
            _ => {}
        }
    }
    Ok(schema.unwrap_or(if scalar == Scalar::SchemaOrBool { Value::Bool(allowed) } else { Value::Array(items) }))
}

fn wrong_wire_type(field: &Field) -> ProtobufError {
    ProtobufError::WrongWireType { field: field.name.clone() }
}
