//! Pseudorandom numbers that are reproducible for a seed and a case.

/// SplitMix64: small, and good enough for choices.
#[derive(Debug, Clone)]
pub(super) struct Chance(u64);

impl Chance {
    /// A generator for one case of a seed; cases are independent of each other.
    pub(super) fn new(seed: u64, case: usize) -> Self {
        let mut seeds = Self(seed);
        let start = seeds.next();
        Self(start.wrapping_add((case as u64).wrapping_mul(0xa076_1d64_78bd_642f)))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which must not be 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    /// A number below `end`, which must not be 0.
    pub(super) fn small(&mut self, end: u32) -> u32 {
        u32::try_from(self.next() % u64::from(end)).unwrap()
    }

    pub(super) fn word(&mut self) -> u32 {
        u32::try_from(self.next() >> 32).unwrap()
    }

    pub(super) fn one_in(&mut self, many: u32) -> bool {
        self.small(many) == 0
    }

    pub(super) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// A number from 1 to `most`, each order of magnitude with the same probability.
    pub(super) fn size(&mut self, most: u32) -> u32 {
        let bits = self.small(most.ilog2() + 1);
        let size = (1 << bits) + self.small(1 << bits);
        size.min(most)
    }

    pub(super) fn bytes(&mut self, count: u32) -> Vec<u8> {
        (0..count).map(|_| u8::try_from(self.next() >> 56).unwrap()).collect()
    }
}
