//! Constants, keys and data as the kernel lays them out: each field of a concatenation padded to four bytes.

use std::net::{Ipv4Addr, Ipv6Addr};

use compile::ruleset::{Data, DataType, Direction, ElementKey, FieldType, InterfaceName, Value, Values, Verdict};
use model::{IpFamily, Name};

use super::constant::{IP_CT_DIR_ORIGINAL, IP_CT_DIR_REPLY, NFPROTO_IPV4, NFPROTO_IPV6, data, set};
use crate::netlink::{Attributes, parse_attributes, parse_text, parse_u32_be};

/// How nft numbers its data types; the kernel keeps the number for us and for `nft list`.
const fn type_number(field: FieldType) -> u32 {
    match field {
        FieldType::Ipv4Address => 7,
        FieldType::Ipv6Address => 8,
        FieldType::Protocol => 12,
        FieldType::Port => 13,
        FieldType::Mark => 19,
        FieldType::Interface => 41,
    }
}

const FIELD_TYPES: [FieldType; 6] = [
    FieldType::Ipv4Address,
    FieldType::Ipv6Address,
    FieldType::Protocol,
    FieldType::Port,
    FieldType::Mark,
    FieldType::Interface,
];

/// nft gives each type of a concatenation six bits, the first type the highest.
const TYPE_BITS: u32 = 6;

/// Bytes of a field's value.
pub(super) const fn field_length(field: FieldType) -> usize {
    match field {
        FieldType::Ipv4Address | FieldType::Mark => 4,
        FieldType::Ipv6Address | FieldType::Interface => 16,
        FieldType::Protocol => 1,
        FieldType::Port => 2,
    }
}

/// Bytes of a key or of data made of `fields`: a single field has its own length, several are padded.
pub(super) fn fields_length(fields: &[FieldType]) -> usize {
    match fields {
        [only] => field_length(*only),
        several => several.iter().map(|field| field_length(*field).next_multiple_of(4)).sum(),
    }
}

/// nft's number of a type or of a concatenation of types.
pub(super) fn fields_number(fields: &[FieldType]) -> u32 {
    fields.iter().fold(0, |number, field| number << TYPE_BITS | type_number(*field))
}

/// The fields nft numbers so; `None` when it is a type we never use.
pub(super) fn parse_fields_number(number: u32) -> Option<Vec<FieldType>> {
    let mut rest = number;
    let mut fields = Vec::new();
    while rest != 0 {
        let low = rest & ((1 << TYPE_BITS) - 1);
        fields.push(*FIELD_TYPES.iter().find(|field| type_number(**field) == low)?);
        rest >>= TYPE_BITS;
    }
    fields.reverse();
    Some(fields)
}

/// A constant's bytes, as a register holds them.
pub(super) fn value_bytes(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_value(&mut bytes, value);
    bytes
}

fn put_value(bytes: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Ipv4Address(address) => bytes.extend_from_slice(&address.octets()),
        Value::Ipv6Address(address) => bytes.extend_from_slice(&address.octets()),
        Value::Protocol(number) => bytes.push(*number),
        Value::Port(port) => bytes.extend_from_slice(&port.to_be_bytes()),
        Value::Mark(mark) => bytes.extend_from_slice(&mark.to_ne_bytes()),
        Value::Interface(name) => bytes.extend_from_slice(name.as_bytes()),
        Value::InterfacePrefix(prefix) => bytes.extend_from_slice(prefix.trimmed()),
        Value::Family(IpFamily::V4) => bytes.push(NFPROTO_IPV4),
        Value::Family(IpFamily::V6) => bytes.push(NFPROTO_IPV6),
        Value::Direction(Direction::Original) => bytes.push(IP_CT_DIR_ORIGINAL),
        Value::Direction(Direction::Reply) => bytes.push(IP_CT_DIR_REPLY),
    }
}

/// The bytes of a key or of data made of `values`.
pub(super) fn values_bytes(values: &Values) -> Vec<u8> {
    let mut bytes = Vec::new();
    let is_alone = values.iter().nth(1).is_none();
    for value in values.iter() {
        put_value(&mut bytes, &value);
        if is_alone {
            break;
        }
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

/// The values in a key or data made of `fields`; `None` when the bytes do not fit the fields.
pub(super) fn parse_values(fields: &[FieldType], bytes: &[u8]) -> Option<Vec<Value>> {
    if bytes.len() < fields_length(fields) {
        return None;
    }
    let mut rest = bytes;
    let mut values = Vec::with_capacity(fields.len());
    for field in fields {
        let length = field_length(*field);
        values.push(parse_value(*field, rest.get(..length)?)?);
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(values)
}

fn parse_value(field: FieldType, bytes: &[u8]) -> Option<Value> {
    Some(match field {
        FieldType::Ipv4Address => Value::Ipv4Address(Ipv4Addr::from(*bytes.first_chunk()?)),
        FieldType::Ipv6Address => Value::Ipv6Address(Ipv6Addr::from(*bytes.first_chunk()?)),
        FieldType::Protocol => Value::Protocol(*bytes.first()?),
        FieldType::Port => Value::Port(u16::from_be_bytes(*bytes.first_chunk()?)),
        FieldType::Mark => Value::Mark(u32::from_ne_bytes(*bytes.first_chunk()?)),
        FieldType::Interface => {
            let name = bytes.split(|byte| *byte == 0).next()?;
            Value::Interface(InterfaceName::new(std::str::from_utf8(name).ok()?)?)
        }
    })
}

/// A verdict as nested attributes.
pub(super) fn put_verdict(attributes: &mut Attributes, verdict: &Verdict) {
    let (code, chain) = match verdict {
        Verdict::Accept => (data::ACCEPT, None),
        Verdict::Drop => (data::DROP, None),
        Verdict::Return => (data::RETURN, None),
        Verdict::Jump(chain) => (data::JUMP, Some(chain)),
        Verdict::Goto(chain) => (data::GOTO, Some(chain)),
    };
    attributes.nest(data::VERDICT, |verdict| {
        verdict.u32_be(data::VERDICT_CODE, code.cast_unsigned());
        if let Some(chain) = chain {
            verdict.text(data::VERDICT_CHAIN, chain.as_str());
        }
    });
}

fn parse_verdict(attributes: &[u8]) -> Option<Verdict> {
    let (mut code, mut chain) = (None, None);
    for (kind, value) in parse_attributes(attributes) {
        match kind {
            data::VERDICT_CODE => code = parse_u32_be(value),
            data::VERDICT_CHAIN => chain = Some(Name::from(parse_text(value))),
            _ => {}
        }
    }
    match code?.cast_signed() {
        data::ACCEPT => Some(Verdict::Accept),
        data::DROP => Some(Verdict::Drop),
        data::RETURN => Some(Verdict::Return),
        data::JUMP => chain.map(Verdict::Jump),
        data::GOTO => chain.map(Verdict::Goto),
        _ => None,
    }
}

/// An element's data as nested attributes.
pub(super) fn put_data(attributes: &mut Attributes, data: &Data) {
    match data {
        Data::Verdict(verdict) => put_verdict(attributes, verdict),
        Data::Values(values) => {
            attributes.put(data::VALUE, &values_bytes(values));
        }
    }
}

/// Reads an element's data of type `data_type` from nested attributes; `None` when it is not of that type.
pub(super) fn parse_data(data_type: &DataType, attributes: &[u8]) -> Option<Data> {
    let (kind, value) = parse_attributes(attributes).next()?;
    match (data_type, kind) {
        (DataType::Verdict, data::VERDICT) => parse_verdict(value).map(Data::Verdict),
        (DataType::Fields(fields), data::VALUE) => {
            parse_values(fields, value).map(|values| Data::Values(values.into()))
        }
        _ => None,
    }
}

/// The kernel's number of a map's data type.
pub(super) fn data_type_number(data_type: &DataType) -> u32 {
    match data_type {
        DataType::Verdict => set::DATA_VERDICT,
        DataType::Fields(fields) => fields_number(fields),
    }
}

/// The lowest key above `key`, in the kernel's order of bytes; `None` when `key` is the highest.
///
/// Sets of ranges with a single field keep the first key after a range, not the last one of it.
pub(super) fn successor(key: &[u8]) -> Option<Vec<u8>> {
    let mut next = key.to_vec();
    for byte in next.iter_mut().rev() {
        let (sum, carries) = byte.overflowing_add(1);
        *byte = sum;
        if !carries {
            return Some(next);
        }
    }
    None
}

/// The highest key below `key`; `None` when `key` is the lowest.
pub(super) fn predecessor(key: &[u8]) -> Option<Vec<u8>> {
    let mut previous = key.to_vec();
    for byte in previous.iter_mut().rev() {
        let (difference, borrows) = byte.overflowing_sub(1);
        *byte = difference;
        if !borrows {
            return Some(previous);
        }
    }
    None
}

/// First and last key of an element, equal for a single one.
pub(super) fn bounds(key: &ElementKey) -> (Vec<u8>, Vec<u8>) {
    match key {
        ElementKey::Exact(values) => {
            let bytes = values_bytes(values);
            (bytes.clone(), bytes)
        }
        ElementKey::Range(range) => (values_bytes(&range.0), values_bytes(&range.1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_concatenation_is_padded_and_numbered_as_nft_does() {
        let fields = [FieldType::Protocol, FieldType::Ipv4Address, FieldType::Port];
        assert_eq!(fields_number(&fields), 12 << 12 | 7 << 6 | 13);
        assert_eq!(parse_fields_number(fields_number(&fields)), Some(fields.to_vec()));
        let values = [Value::Protocol(6), Value::Ipv4Address(Ipv4Addr::new(10, 96, 0, 1)), Value::Port(443)];
        let bytes = values_bytes(&values.into());
        assert_eq!(bytes, [6, 0, 0, 0, 10, 96, 0, 1, 1, 187, 0, 0]);
        assert_eq!(fields_length(&fields), bytes.len());
        assert_eq!(parse_values(&fields, &bytes).unwrap(), values);
    }

    #[test]
    fn a_single_field_is_not_padded() {
        assert_eq!(values_bytes(&[Value::Port(80)].into()), [0, 80]);
        assert_eq!(fields_length(&[FieldType::Port]), 2);
        assert_eq!(parse_values(&[FieldType::Port], &[0, 80]), Some(vec![Value::Port(80)]));
    }

    #[test]
    fn values_that_do_not_fit_are_refused() {
        assert_eq!(parse_values(&[FieldType::Ipv4Address], &[1, 2]), None);
        assert_eq!(parse_fields_number(63), None);
    }

    #[test]
    fn keys_have_neighbours_until_the_ends() {
        assert_eq!(successor(&[10, 0, 0, 255]), Some(vec![10, 0, 1, 0]));
        assert_eq!(successor(&[255, 255]), None);
        assert_eq!(predecessor(&[10, 0, 1, 0]), Some(vec![10, 0, 0, 255]));
        assert_eq!(predecessor(&[0, 0]), None);
    }
}
