//! Walking over the records of a message without copying them.

use super::{HEADER_LEN, RecordType, read_u16, read_u32};

/// A message whose structure cannot be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed DNS message")]
pub struct Malformed;

/// Where the name that starts at `at` ends within the message; a compression pointer ends a name.
pub fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let len = *message.get(at)?;
        match len >> 6 {
            0 if len == 0 => return Some(at + 1),
            0 => at += 1 + usize::from(len),
            3 => return (at + 2 <= message.len()).then_some(at + 2),
            _ => return None,
        }
    }
}

/// One record of a message, by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordView {
    /// Where its owner name starts.
    pub start: usize,
    /// The record's type.
    pub rtype: RecordType,
    /// The class; for OPT, the sender's payload size.
    pub class: u16,
    /// Seconds it may be kept; for OPT, extended code and flags.
    pub ttl: u32,
    /// Where the TTL stands.
    pub ttl_at: usize,
    /// Where the data starts.
    pub data: usize,
    /// Where the data, and with it the record, ends.
    pub end: usize,
    /// Which section it stands in.
    pub section: usize,
}

/// The records of a message in order: sections 1 (answer), 2 (authority) and 3 (additional).
///
/// Yields one [`Malformed`] and then ends when the message cannot be followed to its last record.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    message: &'a [u8],
    at: usize,
    section: usize,
    left: u16,
    broken: bool,
}

impl<'a> Records<'a> {
    /// The records of `message`, or an error when its questions cannot be followed.
    pub fn of(message: &'a [u8]) -> Result<Self, Malformed> {
        let questions = read_u16(message, 4).ok_or(Malformed)?;
        let mut at = HEADER_LEN;
        for _ in 0..questions {
            at = skip_name(message, at).ok_or(Malformed)? + 4;
        }
        if at > message.len() {
            return Err(Malformed);
        }
        Ok(Self { message, at, section: 0, left: 0, broken: false })
    }

    fn read(&mut self) -> Option<RecordView> {
        let fixed = skip_name(self.message, self.at)?;
        let data = fixed + 10;
        let end = data + usize::from(read_u16(self.message, fixed + 8)?);
        if end > self.message.len() {
            return None;
        }
        let record = RecordView {
            start: self.at,
            rtype: RecordType(read_u16(self.message, fixed)?),
            class: read_u16(self.message, fixed + 2)?,
            ttl: read_u32(self.message, fixed + 4)?,
            ttl_at: fixed + 4,
            data,
            end,
            section: self.section,
        };
        self.at = end;
        Some(record)
    }
}

impl Iterator for Records<'_> {
    type Item = Result<RecordView, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.left == 0 {
            if self.section == 3 || self.broken {
                return None;
            }
            self.section += 1;
            self.left = read_u16(self.message, 4 + 2 * self.section)?;
        }
        self.left -= 1;
        let record = self.read().ok_or(Malformed);
        if record.is_err() {
            self.broken = true;
            self.left = 0;
        }
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(records: &[u8], counts: [u8; 4]) -> Vec<u8> {
        let mut message = vec![0; HEADER_LEN];
        for (section, count) in counts.into_iter().enumerate() {
            message[5 + 2 * section] = count;
        }
        message.extend_from_slice(b"\x01a\0\0\x01\0\x01");
        message.extend_from_slice(records);
        message
    }

    #[test]
    fn records_of_every_section_are_found_by_position() {
        let record = b"\xc0\x0c\0\x01\0\x01\0\0\0\x05\0\x04\x0a\0\0\x01";
        let message = message(&[&record[..], &record[..]].concat(), [1, 1, 0, 1]);
        let records: Vec<_> = Records::of(&message).unwrap().map(Result::unwrap).collect();
        assert_eq!(records.iter().map(|record| record.section).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(records[0].ttl, 5);
        assert_eq!(&message[records[1].data..records[1].end], [10, 0, 0, 1]);
    }

    #[test]
    fn a_promised_record_that_is_missing_is_reported_once() {
        let cut = message(b"", [1, 2, 0, 0]);
        assert_eq!(Records::of(&cut).unwrap().collect::<Vec<_>>(), [Err(Malformed)]);
    }

    #[test]
    fn reserved_label_kinds_are_malformed() {
        assert_eq!(skip_name(b"\x40abc", 0), None);
        assert_eq!(skip_name(b"\xc0", 0), None);
        assert_eq!(skip_name(b"\x01a\xc0\x0c", 0), Some(4));
    }
}
