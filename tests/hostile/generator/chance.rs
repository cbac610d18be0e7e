//! Numbers that look like chance and are the same for the same seed and case.

/// SplitMix64: small, and good enough for choices.
#[derive(Debug, Clone)]
pub(super) struct Chance(u64);

impl Chance {
    /// For one case of a seed. Cases do not depend on each other.
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

    /// Below `end`, which is not 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    /// Below `end`, which is not 0.
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

    /// From 1 to `most`: each order of magnitude is as likely as any other.
    pub(super) fn size(&mut self, most: u32) -> u32 {
        let bits = self.small(most.ilog2() + 1);
        let size = (1 << bits) + self.small(1 << bits);
        size.min(most)
    }

    pub(super) fn bytes(&mut self, count: u32) -> Vec<u8> {
        (0..count).map(|_| u8::try_from(self.next() >> 56).unwrap()).collect()
    }
}
