//! Varying the order of addresses between answers without remembering anything.

/// Every index below `len` once, in an order picked by `seed`; each index comes first equally often.
///
/// Walks in steps that have no divisor in common with `len`, so that the successor of an index varies too: when the
/// first address fails, its clients spread over the others.
pub fn shuffled(len: usize, seed: u64) -> impl Iterator<Item = usize> {
    let modulus = len.max(1) as u64;
    let seed = mix(seed);
    let start = (seed >> 32) % modulus;
    let mut step = (seed & u64::from(u32::MAX)) % modulus;
    while greatest_common_divisor(step, modulus) != 1 {
        step += 1;
    }
    (0..len as u64).map(move |turn| ((start + turn * step) % modulus) as usize)
}

/// Spreads the difference of neighbouring seeds over all bits (the finalizer of splitmix64).
fn mix(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_comes_exactly_once() {
        for len in 0..40 {
            for seed in 0..50 {
                let mut order: Vec<_> = shuffled(len, seed).collect();
                order.sort_unstable();
                assert_eq!(order, (0..len).collect::<Vec<_>>(), "len {len}, seed {seed}");
            }
        }
    }

    #[test]
    fn each_index_comes_first_equally_often() {
        let mut firsts = [0_u32; 5];
        for seed in 0..10_000 {
            firsts[shuffled(5, seed).next().unwrap()] += 1;
        }
        assert!(firsts.iter().all(|&count| (1800..2200).contains(&count)), "{firsts:?}");
    }
}
