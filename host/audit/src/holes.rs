//! Missing numbers of a stream, and what its agent has declared about them.

use nephometer_proof::{DeclaredDrop, Numbers};

/// Both ends are missing numbers.
pub(crate) type NumberRange = [u64; 2];

/// The missing numbers of a stream.
#[derive(Debug, Default)]
pub(crate) struct Holes {
    missing: Vec<NumberRange>,
    declared: Vec<DeclaredDrop>,
}

impl Holes {
    /// Holes with these declarations. A declaration may be sent twice.
    pub(crate) fn new(drops: Vec<DeclaredDrop>) -> Self {
        let mut declared: Vec<DeclaredDrop> = Vec::new();
        for drop in drops {
            if !declared.contains(&drop) {
                declared.push(drop);
            }
        }
        Self { missing: Vec::new(), declared }
    }

    pub(crate) fn add(&mut self, range: NumberRange) {
        self.missing.push(range);
    }

    /// The declaration that a range overlaps with.
    pub(crate) fn declaration(&self, [first, last]: NumberRange) -> Option<&DeclaredDrop> {
        let overlaps = |drop: &&DeclaredDrop| {
            drop.numbers.is_some_and(|numbers| numbers.first <= last && first <= numbers.last)
        };
        self.declared.iter().find(overlaps)
    }

    /// Drops of samples that had no number yet.
    pub(crate) fn unnumbered(&self) -> impl Iterator<Item = &DeclaredDrop> {
        self.declared.iter().filter(|drop| drop.numbers.is_none())
    }

    /// The missing numbers that no declaration covers.
    ///
    /// A declaration of every number in its range covers that range. Others, which the agent has
    /// joined, cover as many numbers as they state.
    pub(crate) fn undeclared(&self) -> Vec<NumberRange> {
        let numbers = || self.declared.iter().filter_map(|drop| drop.numbers);
        let is_whole = |one: &Numbers| one.count > one.last.saturating_sub(one.first);
        let whole: Vec<NumberRange> =
            numbers().filter(is_whole).map(|one| [one.first, one.last]).collect();
        let joined: Vec<Numbers> = numbers().filter(|one| !is_whole(one)).collect();
        let rest = without(&self.missing, &whole);
        let ranges: Vec<NumberRange> = joined.iter().map(|one| [one.first, one.last]).collect();
        let outside = without(&rest, &ranges);
        if !outside.is_empty() {
            return outside;
        }
        let stated: u64 = joined.iter().map(|one| one.count).sum();
        let missing: u64 = rest.iter().map(|[first, last]| last - first + 1).sum();
        if missing > stated { rest } else { Vec::new() }
    }
}

/// What is left of ranges without others.
fn without(ranges: &[NumberRange], others: &[NumberRange]) -> Vec<NumberRange> {
    let mut others = others.to_vec();
    others.sort_unstable();
    let mut left = Vec::new();
    for [mut first, last] in ranges.iter().copied() {
        for [low, high] in &others {
            if *high < first || *low > last {
                continue;
            }
            if *low > first {
                left.push([first, low - 1]);
            }
            first = high.saturating_add(1);
        }
        if first <= last {
            left.push([first, last]);
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drop(first: u64, last: u64, count: u64) -> DeclaredDrop {
        let numbers = Some(Numbers { first, last, count });
        DeclaredDrop { reason: "policy".into(), numbers, ..DeclaredDrop::default() }
    }

    fn undeclared(missing: &[NumberRange], declared: &[DeclaredDrop]) -> Vec<NumberRange> {
        let mut holes = Holes::new(declared.to_vec());
        missing.iter().for_each(|range| holes.add(*range));
        holes.undeclared()
    }

    #[test]
    fn a_declaration_covers_its_numbers_and_no_more() {
        assert_eq!(undeclared(&[[3, 5]], &[drop(3, 5, 3)]), Vec::<NumberRange>::new());
        assert_eq!(undeclared(&[[3, 9]], &[drop(3, 4, 2), drop(7, 9, 3)]), [[5, 6]]);
        assert_eq!(undeclared(&[[3, 5]], &[]), [[3, 5]]);
        // Joined: two of these numbers, whichever.
        let joined = drop(10, 20, 2);
        assert!(undeclared(&[[11, 11], [19, 19]], std::slice::from_ref(&joined)).is_empty());
        assert_eq!(undeclared(&[[11, 13]], &[joined.clone(), joined.clone()]), [[11, 13]]);
        // After a kill, within a joined range.
        assert!(undeclared(&[[11, 11], [15, 90]], &[joined, drop(15, 90, 76)]).is_empty());
    }
}
