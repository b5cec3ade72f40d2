//! The one source of chance in a run: a fixed algorithm (xoshiro256++), so that a seed means the same on
//! every machine and in every version of the standard library.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng as _, SeedableRng as _};

/// A stream of chance.
#[derive(Clone)]
pub(crate) struct Random(Xoshiro256PlusPlus);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    /// A stream of its own, so that what draws from it does not shift the draws of others.
    pub(crate) fn fork(&mut self) -> Self {
        Self::new(self.bits())
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// From `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        debug_assert!(low <= high);
        let span = u128::from(high - low) + 1;
        // Multiply and shift: the bias is below 2^-40 for all spans in use.
        let offset = (u128::from(self.bits()) * span) >> 64;
        low + u64::try_from(offset).unwrap_or(0)
    }

    pub(crate) fn index(&mut self, len: usize) -> usize {
        let last = len.saturating_sub(1) as u64;
        usize::try_from(self.between(0, last)).unwrap_or(0)
    }

    /// True this many times in a thousand.
    pub(crate) fn chance(&mut self, per_mille: u64) -> bool {
        self.between(0, 999) < per_mille
    }

    pub(crate) fn coin(&mut self) -> bool {
        self.bits() & 1 == 1
    }

    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.index(of.len())]
    }

    /// Mostly near `low`, now and then far out: the shape of real delays.
    pub(crate) fn tail(&mut self, low: u64, high: u64) -> u64 {
        let near = low + (high - low) / 10;
        if self.chance(900) {
            self.between(low, near)
        } else {
            self.between(near, high)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_stay_in_range_and_reach_both_ends() {
        let mut random = Random::new(1);
        let draws: Vec<u64> = (0..1_000).map(|_| random.between(3, 6)).collect();
        assert!(draws.iter().all(|draw| (3..=6).contains(draw)));
        assert!((3..=6).all(|wanted| draws.contains(&wanted)));
    }

    #[test]
    fn the_algorithm_is_fixed() {
        // Were this to change, every seed ever reported would mean something else.
        assert_eq!(Random::new(7).bits(), 0x0e2c_1a00_2eae_913d);
    }
}
