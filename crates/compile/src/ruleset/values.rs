//! Values of a key or of a map's data, packed: a large cluster has hundreds of thousands of them.

use std::fmt;
use std::sync::Arc;

use super::value::{Direction, InterfaceName, Value};
use model::IpFamily;

/// How many bytes have a place beside the length; more are shared.
const INLINE_MAX: usize = 22;

/// Some values in their order; clones are cheap. They compare as lists of [`Value`]s of the same types do.
#[derive(Clone)]
pub struct Values(Bytes);

/// For each value the number of its kind, then its bytes in network order.
#[derive(Clone)]
enum Bytes {
    /// An address, a protocol and two numbers of IPv4 find room here.
    Inline {
        length: u8,
        bytes: [u8; INLINE_MAX],
    },
    Shared(Arc<[u8]>),
}

impl Values {
    /// The values, one after the other.
    pub fn iter(&self) -> impl Iterator<Item = Value> + '_ {
        let mut rest = self.packed();
        std::iter::from_fn(move || {
            let (value, behind) = unpack(rest)?;
            rest = behind;
            Some(value)
        })
    }

    /// The values as a list.
    pub fn to_vec(&self) -> Vec<Value> {
        self.iter().collect()
    }

    fn packed(&self) -> &[u8] {
        match &self.0 {
            Bytes::Inline { length, bytes } => &bytes[..usize::from(*length)],
            Bytes::Shared(bytes) => bytes,
        }
    }
}

impl FromIterator<Value> for Values {
    fn from_iter<T: IntoIterator<Item = Value>>(values: T) -> Self {
        let mut packed = Packed { length: 0, bytes: [0; INLINE_MAX], spilled: Vec::new() };
        values.into_iter().for_each(|value| packed.push(value));
        packed.finish()
    }
}

impl<const N: usize> From<[Value; N]> for Values {
    fn from(values: [Value; N]) -> Self {
        values.into_iter().collect()
    }
}

impl From<&[Value]> for Values {
    fn from(values: &[Value]) -> Self {
        values.iter().copied().collect()
    }
}

impl From<Vec<Value>> for Values {
    fn from(values: Vec<Value>) -> Self {
        values.into_iter().collect()
    }
}

impl PartialEq for Values {
    fn eq(&self, other: &Self) -> bool {
        self.packed() == other.packed()
    }
}

impl Eq for Values {}

impl PartialOrd for Values {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Values {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.packed().cmp(other.packed())
    }
}

impl std::hash::Hash for Values {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.packed().hash(state);
    }
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Bytes that are being put together.
struct Packed {
    length: usize,
    bytes: [u8; INLINE_MAX],
    /// All of them, as soon as they are too many.
    spilled: Vec<u8>,
}

impl Packed {
    fn push(&mut self, value: Value) {
        match value {
            Value::Ipv4Address(address) => self.put(kind::IPV4_ADDRESS, &address.octets()),
            Value::Ipv6Address(address) => self.put(kind::IPV6_ADDRESS, &address.octets()),
            Value::Protocol(number) => self.put(kind::PROTOCOL, &[number]),
            Value::Port(port) => self.put(kind::PORT, &port.to_be_bytes()),
            Value::Mark(mark) => self.put(kind::MARK, &mark.to_be_bytes()),
            Value::Interface(name) => self.put(kind::INTERFACE, name.as_bytes()),
            Value::InterfacePrefix(name) => self.put(kind::INTERFACE_PREFIX, name.as_bytes()),
            Value::Family(family) => self.put(kind::FAMILY, &[u8::from(family == IpFamily::V6)]),
            Value::Direction(direction) => self.put(kind::DIRECTION, &[u8::from(direction == Direction::Reply)]),
        }
    }

    fn put(&mut self, kind: u8, bytes: &[u8]) {
        for byte in [kind].iter().chain(bytes) {
            if self.length < INLINE_MAX {
                self.bytes[self.length] = *byte;
            } else {
                if self.length == INLINE_MAX {
                    self.spilled.extend(self.bytes);
                }
                self.spilled.push(*byte);
            }
            self.length += 1;
        }
    }

    fn finish(self) -> Values {
        match u8::try_from(self.length) {
            Ok(length) if self.length <= INLINE_MAX => Values(Bytes::Inline { length, bytes: self.bytes }),
            _ => Values(Bytes::Shared(self.spilled.into())),
        }
    }
}

/// The first value and what is behind it.
fn unpack(packed: &[u8]) -> Option<(Value, &[u8])> {
    let (kind, rest) = packed.split_first()?;
    match *kind {
        kind::IPV4_ADDRESS => take(rest, |bytes: [u8; 4]| Some(Value::Ipv4Address(bytes.into()))),
        kind::IPV6_ADDRESS => take(rest, |bytes: [u8; 16]| Some(Value::Ipv6Address(bytes.into()))),
        kind::PROTOCOL => take(rest, |[number]| Some(Value::Protocol(number))),
        kind::PORT => take(rest, |bytes| Some(Value::Port(u16::from_be_bytes(bytes)))),
        kind::MARK => take(rest, |bytes| Some(Value::Mark(u32::from_be_bytes(bytes)))),
        kind::INTERFACE => take(rest, |bytes| Some(Value::Interface(InterfaceName::from_padded(bytes)?))),
        kind::INTERFACE_PREFIX => take(rest, |bytes| Some(Value::InterfacePrefix(InterfaceName::from_padded(bytes)?))),
        kind::FAMILY => take(rest, |[is_v6]| Some(Value::Family(if is_v6 == 1 { IpFamily::V6 } else { IpFamily::V4 }))),
        kind::DIRECTION => take(rest, |[is_reply]| {
            Some(Value::Direction(if is_reply == 1 { Direction::Reply } else { Direction::Original }))
        }),
        _ => None,
    }
}

fn take<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> Option<Value>) -> Option<(Value, &[u8])> {
    let (first, rest) = bytes.split_first_chunk()?;
    Some((read(*first)?, rest))
}

/// What a value is, in the order of [`Value`]'s variants.
mod kind {
    pub(super) const IPV4_ADDRESS: u8 = 0;
    pub(super) const IPV6_ADDRESS: u8 = 1;
    pub(super) const PROTOCOL: u8 = 2;
    pub(super) const PORT: u8 = 3;
    pub(super) const MARK: u8 = 4;
    pub(super) const INTERFACE: u8 = 5;
    pub(super) const INTERFACE_PREFIX: u8 = 6;
    pub(super) const FAMILY: u8 = 7;
    pub(super) const DIRECTION: u8 = 8;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_value() -> impl Strategy<Value = Value> {
        let name = "[a-z]{1,15}".prop_map(|text| InterfaceName::new(&text).unwrap());
        prop_oneof![
            any::<[u8; 4]>().prop_map(|octets| Value::Ipv4Address(octets.into())),
            any::<[u8; 16]>().prop_map(|octets| Value::Ipv6Address(octets.into())),
            any::<u8>().prop_map(Value::Protocol),
            any::<u16>().prop_map(Value::Port),
            any::<u32>().prop_map(Value::Mark),
            name.clone().prop_map(Value::Interface),
            name.prop_map(Value::InterfacePrefix),
            prop_oneof![Just(IpFamily::V4), Just(IpFamily::V6)].prop_map(Value::Family),
            prop_oneof![Just(Direction::Original), Just(Direction::Reply)].prop_map(Value::Direction),
        ]
    }

    proptest! {
        #[test]
        fn what_is_packed_is_there_again_and_compares_as_before(
            one in prop::collection::vec(any_value(), 0..6),
            other in prop::collection::vec(any_value(), 0..6),
        ) {
            let packed = [&one, &other].map(|values| Values::from(values.as_slice()));
            prop_assert_eq!(packed[0].to_vec(), one.clone());
            prop_assert_eq!(packed[0].cmp(&packed[1]), one.cmp(&other));
        }
    }

    #[test]
    fn the_key_of_an_endpoint_needs_no_memory_of_its_own() {
        let key =
            [Value::from(std::net::IpAddr::from([10, 96, 0, 1])), Value::Protocol(6), Value::Port(80), Value::Mark(0)];
        assert!(matches!(Values::from(key).0, Bytes::Inline { .. }));
        assert_eq!(size_of::<Values>(), 24);
    }
}
