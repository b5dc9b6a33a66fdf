//! Netlink attributes (`struct nlattr`): a length, a kind and a value, padded to four bytes, nesting.

use std::net::IpAddr;

/// `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER` of `linux/netlink.h`.
const FLAG_NESTED: u16 = 1 << 15;
const FLAG_MASK: u16 = 0x3fff;
const ATTRIBUTE_HEADER_LEN: usize = 4;

/// Attributes under construction. Every method appends one and returns the list, so that calls chain.
///
/// An attribute's length is 16 bits wide: values longer than 65 531 bytes must be split by the caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    bytes: Vec<u8>,
}

impl Attributes {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Begins anew in the same memory.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Continues a buffer that already holds something, for example a message header.
    pub(crate) fn append_to(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn put(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let start = self.open(kind);
        self.bytes.extend_from_slice(value);
        self.close(start)
    }

    pub(crate) fn u8(&mut self, kind: u16, value: u8) -> &mut Self {
        self.put(kind, &[value])
    }

    /// A number in network byte order.
    pub(crate) fn u16_be(&mut self, kind: u16, value: u16) -> &mut Self {
        self.put(kind, &value.to_be_bytes())
    }

    /// A number in the machine's byte order, as rtnetlink wants.
    pub(crate) fn u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.put(kind, &value.to_ne_bytes())
    }

    /// A number in network byte order, as nfnetlink wants.
    pub(crate) fn u32_be(&mut self, kind: u16, value: u32) -> &mut Self {
        self.put(kind, &value.to_be_bytes())
    }

    /// A number in network byte order, as nfnetlink wants.
    pub(crate) fn u64_be(&mut self, kind: u16, value: u64) -> &mut Self {
        self.put(kind, &value.to_be_bytes())
    }

    /// Text with the closing zero the kernel expects.
    pub(crate) fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        let start = self.open(kind);
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(0);
        self.close(start)
    }

    /// An IP address, 4 or 16 bytes.
    pub(crate) fn address(&mut self, kind: u16, address: IpAddr) -> &mut Self {
        match address {
            IpAddr::V4(address) => self.put(kind, &address.octets()),
            IpAddr::V6(address) => self.put(kind, &address.octets()),
        }
    }

    /// Bytes that are no attribute: a header some nests begin with. Must keep the four byte alignment.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        debug_assert!(bytes.len().is_multiple_of(4), "{} bytes", bytes.len());
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// An attribute made of the attributes `fill` appends.
    pub(crate) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.open(kind | FLAG_NESTED);
        fill(self);
        self.close(start)
    }

    fn open(&mut self, kind: u16) -> usize {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        start
    }

    fn close(&mut self, start: usize) -> &mut Self {
        let length = self.bytes.len() - start;
        debug_assert!(length <= usize::from(u16::MAX), "attribute of {length} bytes");
        self.bytes[start..start + 2].copy_from_slice(&(length as u16).to_ne_bytes());
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }
}

/// The attributes in `bytes`, kinds without their flag bits; ends at the first that does not fit.
pub(crate) fn parse_attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (header, _) = rest.split_first_chunk::<ATTRIBUTE_HEADER_LEN>()?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & FLAG_MASK;
        let value = rest.get(ATTRIBUTE_HEADER_LEN..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

pub(crate) fn parse_u32(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

pub(crate) fn parse_u32_be(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// An IP address, when the value has the length of one.
pub(crate) fn parse_address(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => value.first_chunk::<4>().map(|bytes| IpAddr::from(*bytes)),
        16 => value.first_chunk::<16>().map(|bytes| IpAddr::from(*bytes)),
        _ => None,
    }
}

pub(crate) fn parse_text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.strip_suffix(&[0]).unwrap_or(value)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_are_padded_and_nests_carry_their_flag() {
        let mut attributes = Attributes::new();
        attributes.text(1, "ab").nest(2, |inner| {
            inner.u32_be(3, 0x0102_0304);
        });
        let expected: &[u8] = &[
            7, 0, 1, 0, b'a', b'b', 0, 0, // text with its zero, one byte of padding
            12, 0, 2, 0x80, 8, 0, 3, 0, 1, 2, 3, 4,
        ];
        assert_eq!(attributes.as_bytes(), expected);
    }

    proptest! {
        #[test]
        fn what_was_put_is_read_back(values in prop::collection::vec((0..FLAG_MASK, prop::collection::vec(any::<u8>(), 0..40)), 0..8)) {
            let mut attributes = Attributes::new();
            for (kind, value) in &values {
                attributes.put(*kind, value);
            }
            let read: Vec<(u16, Vec<u8>)> =
                parse_attributes(attributes.as_bytes()).map(|(kind, value)| (kind, value.to_vec())).collect();
            prop_assert_eq!(read, values);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let read: usize = parse_attributes(&bytes).map(|(_, value)| value.len() + ATTRIBUTE_HEADER_LEN).sum();
            prop_assert!(read <= bytes.len());
        }
    }
}
