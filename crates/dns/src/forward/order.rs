//! Varying the order of addresses in another server's reply.

use crate::shuffle::shuffled;
use crate::wire::{RecordType, RecordView, Records};

/// Puts the addresses of each run of records of one name and type in the answer section into another order.
///
/// Only their data moves, so nothing else in the message does.
pub(crate) fn shuffle_addresses(reply: &mut [u8], seed: u64) {
    let answers: Vec<RecordView> =
        Records::of(reply).into_iter().flatten().flatten().take_while(|record| record.section == 1).collect();
    let same = |a: &RecordView, b: &RecordView| a.rtype == b.rtype && owner(reply, a) == owner(reply, b);
    let is_address = |record: &RecordView| matches!(record.rtype, RecordType::A | RecordType::AAAA);
    let runs: Vec<&[RecordView]> = answers.chunk_by(same).filter(|run| run.len() > 1 && is_address(&run[0])).collect();
    for run in runs {
        let data: Vec<Vec<u8>> = run.iter().map(|record| reply[record.data..record.end].to_vec()).collect();
        for (record, index) in run.iter().zip(shuffled(run.len(), seed)) {
            if record.end - record.data == data[index].len() {
                reply[record.data..record.end].copy_from_slice(&data[index]);
            }
        }
    }
}

/// The owner of a record as it is written.
fn owner<'a>(reply: &'a [u8], record: &RecordView) -> &'a [u8] {
    // Type, class and time to live stand between the name and the length of the data.
    &reply[record.start..record.ttl_at - 4]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(addresses: &[u8]) -> Vec<u8> {
        let mut reply = vec![0, 1, 0x80, 0, 0, 1, 0, addresses.len() as u8, 0, 0, 0, 0];
        reply.extend_from_slice(b"\x01a\0\0\x01\0\x01");
        for &last in addresses {
            reply.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0\0\x05\0\x04\x0a\0\0");
            reply.push(last);
        }
        reply
    }

    #[test]
    fn addresses_change_places_and_none_is_lost() {
        let mut firsts = std::collections::BTreeSet::new();
        for seed in 0..20 {
            let mut message = reply(&[1, 2, 3]);
            shuffle_addresses(&mut message, seed);
            let mut lasts: Vec<u8> =
                Records::of(&message).unwrap().map(|record| message[record.unwrap().end - 1]).collect();
            firsts.insert(lasts[0]);
            lasts.sort_unstable();
            assert_eq!(lasts, [1, 2, 3]);
        }
        assert_eq!(firsts.len(), 3);
    }

    #[test]
    fn addresses_of_odd_length_stay_what_they_are() {
        let mut message = reply(&[1, 2]);
        let len = message.len();
        message[len - 5] = 5;
        let before = message.clone();
        shuffle_addresses(&mut message, 1);
        assert_eq!(message, before);
    }
}
