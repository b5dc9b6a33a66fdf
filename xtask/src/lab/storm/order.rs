//! An order nobody chose and everybody can repeat.

/// The same items in an order that the seed alone decides (Fisher and Yates, with the generator SplitMix64).
pub fn shuffled<T>(mut items: Vec<T>, seed: u64) -> Vec<T> {
    let mut state = seed;
    for last in (1..items.len()).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut drawn = state;
        drawn = (drawn ^ (drawn >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        drawn = (drawn ^ (drawn >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        drawn ^= drawn >> 31;
        let bound = last as u64 + 1;
        items.swap(last, usize::try_from(drawn % bound).unwrap_or(last));
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_order_and_loses_nothing() {
        let order = |seed| shuffled((0..12).collect::<Vec<u8>>(), seed);
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
        let mut sorted = order(3);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..12).collect::<Vec<u8>>());
    }
}
