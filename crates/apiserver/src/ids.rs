//! Random names and identities.

use rustls::crypto::SecureRandom;

/// Letters that form no words and no letter of which is mistaken for another.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LETTERS: usize = 5;

/// A new `metadata.uid`: a random UUID (RFC 9562, version 4).
pub(crate) fn new_uid() -> String {
    let mut bytes = random::<16>();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let [a, b, c, d, e] = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| hex.get(range).unwrap_or_default());
    format!("{a}-{b}-{c}-{d}-{e}")
}

/// What a generated name ends in: `x7k2p`.
pub(crate) fn name_suffix() -> String {
    let letter = |byte: u8| char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]);
    random::<SUFFIX_LETTERS>().into_iter().map(letter).collect()
}

/// A number below `limit`, roughly uniform.
pub(crate) fn random_below(limit: u32) -> u32 {
    u32::from_le_bytes(random()) % limit.max(1)
}

/// A seed for what may be arbitrary but must not be the same every time.
pub(crate) fn random_seed() -> u64 {
    u64::from_le_bytes(random())
}

fn random<const LENGTH: usize>() -> [u8; LENGTH] {
    static SOURCE: std::sync::LazyLock<&'static dyn SecureRandom> =
        std::sync::LazyLock::new(|| rustls::crypto::aws_lc_rs::default_provider().secure_random);
    let mut bytes = [0; LENGTH];
    #[expect(clippy::expect_used, reason = "the generator of the library fails only if the process could never start")]
    SOURCE.fill(&mut bytes).expect("the system's random numbers");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_are_uuids_of_version_four_and_differ() {
        let (one, other) = (new_uid(), new_uid());
        assert_ne!(one, other);
        let lengths: Vec<usize> = one.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert_eq!(one.as_bytes()[14], b'4');
        assert!(b"89ab".contains(&one.as_bytes()[19]));
    }

    #[test]
    fn suffixes_are_five_letters_of_the_alphabet() {
        let suffix = name_suffix();
        assert_eq!(suffix.len(), SUFFIX_LETTERS);
        assert!(suffix.bytes().all(|letter| ALPHABET.contains(&letter)));
    }
}
