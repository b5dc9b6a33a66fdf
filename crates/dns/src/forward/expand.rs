//! Taking records out of one message to put them into another: names must be written out in full.

use crate::wire::{MAX_NAME, Malformed, RecordType, RecordView, Records};

/// How many pointers a name may follow: more than any real one, fewer than a loop.
const MAX_JUMPS: usize = 64;
const MX: RecordType = RecordType(15);

/// A record of another server's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ForeignRecord {
    pub(crate) owner: Vec<u8>,
    pub(crate) rtype: RecordType,
    pub(crate) ttl: u32,
    pub(crate) data: Vec<u8>,
}

/// The records of the answer section, self-contained.
pub(crate) fn foreign_answers(message: &[u8]) -> Result<Vec<ForeignRecord>, Malformed> {
    let is_answer = |record: &Result<RecordView, _>| record.is_err() || record.is_ok_and(|record| record.section == 1);
    let expand = |record: Result<RecordView, Malformed>| {
        let record = record?;
        Ok(ForeignRecord {
            owner: expand_name(message, record.start).ok_or(Malformed)?.0,
            rtype: record.rtype,
            ttl: record.ttl,
            data: expand_data(message, &record).ok_or(Malformed)?,
        })
    };
    Records::of(message)?.filter(is_answer).map(expand).collect()
}

/// The data of a record with the names in it written out.
///
/// Only the types of RFC 1035 may hold compressed names (RFC 3597 section 4), and SRV in old servers.
fn expand_data(message: &[u8], record: &RecordView) -> Option<Vec<u8>> {
    let (lead, names) = match record.rtype {
        RecordType::CNAME | RecordType::NS | RecordType::PTR => (0, 1),
        RecordType::SOA => (0, 2),
        MX => (2, 1),
        RecordType::SRV => (6, 1),
        _ => return Some(message[record.data..record.end].to_vec()),
    };
    let mut data = message[..record.end].get(record.data..record.data + lead)?.to_vec();
    let mut at = record.data + lead;
    for _ in 0..names {
        let (name, end) = expand_name(message, at)?;
        data.extend_from_slice(&name);
        at = end;
    }
    data.extend_from_slice(message[..record.end].get(at..)?);
    Some(data)
}

/// The name at `at` without pointers, and where it ends in the message.
fn expand_name(message: &[u8], mut at: usize) -> Option<(Vec<u8>, usize)> {
    let mut name = Vec::new();
    let mut end = None;
    for _ in 0..MAX_JUMPS {
        loop {
            let len = *message.get(at)?;
            if len >> 6 == 3 {
                break;
            }
            if len >> 6 != 0 {
                return None;
            }
            name.extend_from_slice(message.get(at..=at + usize::from(len))?);
            at += 1 + usize::from(len);
            if name.len() > MAX_NAME {
                return None;
            }
            if len == 0 {
                return Some((name, end.unwrap_or(at)));
            }
        }
        end = end.or(Some(at + 2));
        at = usize::from(u16::from_be_bytes([message[at] & 0x3f, *message.get(at + 1)?]));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A question for `a.b.` and the given records, the first `answers` of which are answers.
    fn message(records: &[u8], answers: u8) -> Vec<u8> {
        let mut message = vec![0, 1, 0x80, 0, 0, 1, 0, answers, 0, 0, 0, 0];
        message.extend_from_slice(b"\x01a\x01b\0\0\x01\0\x01");
        message.extend_from_slice(records);
        message
    }

    #[test]
    fn names_are_written_out_in_owner_and_data() {
        let cname = b"\xc0\x0c\0\x05\0\x01\0\0\0\x09\0\x04\x01c\xc0\x0e";
        let found = foreign_answers(&message(cname, 1)).unwrap();
        let expected = ForeignRecord {
            owner: b"\x01a\x01b\0".to_vec(),
            rtype: RecordType::CNAME,
            ttl: 9,
            data: b"\x01c\x01b\0".to_vec(),
        };
        assert_eq!(found, [expected]);
    }

    #[test]
    fn what_stands_beside_names_is_kept() {
        let mx = b"\xc0\x0c\0\x0f\0\x01\0\0\0\x09\0\x06\0\x0a\x01m\xc0\x0c";
        assert_eq!(foreign_answers(&message(mx, 1)).unwrap()[0].data, b"\0\x0a\x01m\x01a\x01b\0");
    }

    #[test]
    fn pointers_in_a_circle_are_malformed() {
        let circle = b"\xc0\x15\0\x05\0\x01\0\0\0\x09\0\x02\xc0\x15";
        assert_eq!(foreign_answers(&message(circle, 1)), Err(Malformed));
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_messages_are_expanded_or_refused(records: Vec<u8>, answers: u8) {
            if let Ok(found) = foreign_answers(&message(&records, answers)) {
                proptest::prop_assert!(found.iter().all(|record| record.owner.len() <= MAX_NAME));
            }
        }
    }
}
