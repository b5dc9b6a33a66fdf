//! Chance that is the same in every run with the same seed.

use std::env;

/// Another storm than the usual one.
const SEED_VARIABLE: &str = "FAIRWAY_STORM_SEED";
const USUAL_SEED: u64 = 2026;

/// The seed of this storm.
pub fn seed() -> u64 {
    env::var(SEED_VARIABLE).map_or(USUAL_SEED, |seed| seed.parse().unwrap())
}

/// Numbers that look random (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, count: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) % count
    }

    /// True once in `count` times.
    pub fn once_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}
