//! Values without a message of their own in JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Number, Value};

use super::wire::{Reader, Wire};
use crate::schema::table::{Element, Scalar};

/// The JSON form of a value; nothing when it is not encoded as its type is.
pub(super) fn decode(scalar: Scalar, wire: Wire<'_>) -> Option<Value> {
    match (scalar, wire) {
        (Scalar::String, Wire::Bytes(bytes)) => Some(text(bytes)),
        (Scalar::Bytes, Wire::Bytes(bytes)) => Some(STANDARD.encode(bytes).into()),
        (Scalar::Bool, Wire::Varint(bit)) => Some(Value::Bool(bit != 0)),
        (Scalar::Int32, Wire::Varint(bits)) => Some((bits as i32).into()),
        (Scalar::Int64, Wire::Varint(bits)) => Some((bits as i64).into()),
        (Scalar::Float64, Wire::Fixed64(bits)) => {
            Some(Number::from_f64(f64::from_bits(bits)).map_or(Value::Null, Value::Number))
        }
        (Scalar::Time, Wire::Bytes(bytes)) => time(bytes, Precision::Seconds),
        (Scalar::MicroTime, Wire::Bytes(bytes)) => time(bytes, Precision::Microseconds),
        (Scalar::Quantity, Wire::Bytes(bytes)) => quantity(bytes),
        (Scalar::IntOrString, Wire::Bytes(bytes)) => int_or_string(bytes),
        (Scalar::Strings, Wire::Bytes(bytes)) => strings(bytes),
        (Scalar::Raw, Wire::Bytes(bytes)) => raw(bytes),
        _ => None,
    }
}

/// What a map's value is when the entry does not have one.
pub(super) fn zero(element: Element) -> Value {
    match element {
        Element::Scalar(Scalar::String | Scalar::Bytes) => "".into(),
        Element::Scalar(Scalar::Bool) => false.into(),
        Element::Scalar(Scalar::Int32 | Scalar::Int64 | Scalar::IntOrString) => 0.into(),
        Element::Scalar(Scalar::Float64) => 0.0.into(),
        Element::Scalar(Scalar::Quantity) => "0".into(),
        Element::Scalar(Scalar::Strings) => Value::Array(Vec::new()),
        Element::Scalar(_) => Value::Null,
        Element::Message(_) => Value::Object(serde_json::Map::new()),
    }
}

fn text(bytes: &[u8]) -> Value {
    String::from_utf8_lossy(bytes).into()
}

#[derive(Clone, Copy)]
enum Precision {
    Seconds,
    Microseconds,
}

/// A timestamp message; an empty one is no time at all.
fn time(bytes: &[u8], precision: Precision) -> Option<Value> {
    if bytes.is_empty() {
        return Some(Value::Null);
    }
    let (mut seconds, mut nanos) = (0_i64, 0_i32);
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.next_field().ok()? {
        match (number, wire) {
            (1, Wire::Varint(bits)) => seconds = bits as i64,
            (2, Wire::Varint(bits)) => nanos = bits as i32,
            _ => {}
        }
    }
    let time = match precision {
        Precision::Seconds => jiff::Timestamp::new(seconds, 0).ok()?.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        Precision::Microseconds => {
            jiff::Timestamp::new(seconds, nanos).ok()?.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
        }
    };
    Some(time.into())
}

fn quantity(bytes: &[u8]) -> Option<Value> {
    let mut amount = text(b"0");
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.next_field().ok()? {
        if let (1, Wire::Bytes(bytes)) = (number, wire) {
            amount = text(bytes);
        }
    }
    Some(amount)
}

fn int_or_string(bytes: &[u8]) -> Option<Value> {
    let (mut is_string, mut int, mut string) = (false, 0_i32, text(b""));
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.next_field().ok()? {
        match (number, wire) {
            (1, Wire::Varint(kind)) => is_string = kind == 1,
            (2, Wire::Varint(bits)) => int = bits as i32,
            (3, Wire::Bytes(bytes)) => string = text(bytes),
            _ => {}
        }
    }
    Some(if is_string { string } else { int.into() })
}

fn strings(bytes: &[u8]) -> Option<Value> {
    let mut items = Vec::new();
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.next_field().ok()? {
        if let (1, Wire::Bytes(bytes)) = (number, wire) {
            items.push(text(bytes));
        }
    }
    Some(Value::Array(items))
}

/// A message that carries JSON in field 1.
fn raw(bytes: &[u8]) -> Option<Value> {
    let mut json = Value::Null;
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.next_field().ok()? {
        match (number, wire) {
            (1, Wire::Bytes(b"")) => {}
            (1, Wire::Bytes(inner)) => json = serde_json::from_slice(inner).ok()?,
            _ => {}
        }
    }
    Some(json)
}
