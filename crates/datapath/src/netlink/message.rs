//! Netlink messages (`struct nlmsghdr` and what follows).

use super::Attributes;

/// Length of `struct nlmsghdr`.
pub(crate) const HEADER_LEN: usize = 16;
/// Message kinds below this are the protocol's own.
pub(crate) const NLMSG_ERROR: u16 = 2;
pub(crate) const NLMSG_DONE: u16 = 3;

/// Flags of `linux/netlink.h`.
pub(crate) mod flag {
    pub(crate) const REQUEST: u16 = 0x1;
    pub(crate) const ACK: u16 = 0x4;
    pub(crate) const DUMP_INTERRUPTED: u16 = 0x10;
    pub(crate) const DUMP: u16 = 0x300;
    pub(crate) const REPLACE: u16 = 0x100;
    pub(crate) const EXCLUSIVE: u16 = 0x200;
    pub(crate) const CREATE: u16 = 0x400;
    pub(crate) const APPEND: u16 = 0x800;
}

/// A message as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    pub(crate) payload: &'a [u8],
}

/// The messages in a datagram; ends at the first that does not fit.
pub(crate) fn parse_messages(datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let (header, _) = rest.split_first_chunk::<HEADER_LEN>()?;
        let [l0, l1, l2, l3, k0, k1, f0, f1, s0, s1, s2, s3, ..] = *header;
        let length = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
        let payload = rest.get(HEADER_LEN..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Message {
            kind: u16::from_ne_bytes([k0, k1]),
            flags: u16::from_ne_bytes([f0, f1]),
            sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
            payload,
        })
    })
}

/// Messages under construction, one after the other, ready to be sent as one datagram.
#[derive(Clone, Debug, Default)]
pub(crate) struct MessageBuffer {
    bytes: Vec<u8>,
}

impl MessageBuffer {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Continues after messages made before.
    pub(crate) fn continue_with(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Appends a message: `fixed` is the family's own header, `fill` appends the attributes.
    pub(crate) fn push(&mut self, head: Head, fixed: &[u8], fill: impl FnOnce(&mut Attributes)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&head.kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(head.flags | flag::REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&head.sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(fixed);
        let mut attributes = Attributes::append_to(std::mem::take(&mut self.bytes));
        fill(&mut attributes);
        self.bytes = attributes.into_bytes();
        let length = (self.bytes.len() - start) as u32;
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// What a message header says besides its length.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_follow_each_other_at_four_byte_steps() {
        let mut buffer = MessageBuffer::new();
        buffer.push(Head { kind: 20, flags: flag::ACK, sequence: 7 }, &[9; 5], |_| {});
        buffer.push(Head { kind: 21, flags: 0, sequence: 8 }, &[], |attributes| {
            attributes.u8(1, 2);
        });
        let read: Vec<_> = parse_messages(buffer.as_bytes()).collect();
        assert_eq!(
            read,
            [
                Message { kind: 20, flags: flag::ACK | flag::REQUEST, sequence: 7, payload: &[9; 5] },
                Message { kind: 21, flags: flag::REQUEST, sequence: 8, payload: &[5, 0, 1, 0, 2, 0, 0, 0] },
            ]
        );
    }

    #[test]
    fn a_length_beyond_the_datagram_ends_the_reading() {
        assert_eq!(parse_messages(&[200, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).count(), 0);
        assert_eq!(parse_messages(&[3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).count(), 0);
    }
}
