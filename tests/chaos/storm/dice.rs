//! The dice of a storm: SplitMix64, so that a printed seed gives the same throws everywhere.

use tidegate_engine::clock;

/// Seeded throws.
#[derive(Debug, Clone)]
pub struct Dice {
    seed: u64,
    state: u64,
}

impl Dice {
    /// With a given seed, or one of the moment.
    pub fn of(seed: Option<u64>) -> Self {
        let seed = seed.unwrap_or_else(|| clock::now().as_nanosecond() as u64 % 1_000_000);
        Self { seed, state: seed }
    }

    /// What repeats them.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Dice of somebody else's, that depend on these.
    pub fn hand(&mut self) -> Self {
        Self::of(Some(self.throw()))
    }

    fn throw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From `low` to below `high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.throw() % (high - low)
    }

    /// Once in `n`.
    pub fn once_in(&mut self, n: u64) -> bool {
        self.between(0, n) == 0
    }
}
