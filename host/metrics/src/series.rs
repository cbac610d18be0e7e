//! Series by family: without duplicates, in a fixed order, and bounded.

use std::collections::BTreeMap;

use super::text::{Exposition, FamilyKind};
use nephometer_model::Bound;

/// All series of a family.
#[derive(Debug)]
struct Family {
    kind: FamilyKind,
    unit: &'static str,
    help: String,
    /// By their labels.
    series: BTreeMap<String, Point>,
}

/// A value at a time.
#[derive(Debug)]
pub(super) struct Point {
    pub(super) value: String,
    /// In ns since the epoch. Of two values of one series the later one is kept.
    pub(super) taken: u64,
}

/// A family, as it is described.
pub(super) struct FamilyHead {
    pub(super) name: String,
    pub(super) kind: FamilyKind,
    pub(super) unit: &'static str,
    pub(super) help: String,
}

/// The series of an exposition.
#[derive(Debug, Default)]
pub(super) struct SeriesSet {
    families: BTreeMap<String, Family>,
    count: usize,
    /// Series that did not fit.
    pub(super) left_out: usize,
}

impl SeriesSet {
    /// Adds a value. Two sources may poll the same meter.
    pub(super) fn add(&mut self, head: FamilyHead, labels: String, point: Point) {
        let FamilyHead { name, kind, unit, help } = head;
        let family = self.families.entry(name);
        let family = family.or_insert_with(|| Family { kind, unit, help, series: BTreeMap::new() });
        if let Some(known) = family.series.get_mut(&labels) {
            if point.taken >= known.taken {
                *known = point;
            }
        } else if Bound::ScrapeSeries.check(self.count + 1).is_err() {
            self.left_out += 1;
        } else {
            self.count += 1;
            family.series.insert(labels, point);
        }
    }

    /// Writes all families, with the times of the values or without.
    pub(super) fn write(&self, exposition: &mut Exposition, times: bool) {
        for (name, Family { kind, unit, help, series }) in &self.families {
            exposition.family(name, *kind, unit, help);
            for (labels, Point { value, taken }) in series {
                exposition.series(labels, value, times.then_some(taken / 1_000_000));
            }
        }
    }
}

/// Cuts a label's value, which tenants choose, at its bound.
pub(super) fn cut(value: &str) -> &str {
    let most = Bound::ScrapeLabel.size();
    if value.len() <= most {
        return value;
    }
    let end = (0..=most).rev().find(|end| value.is_char_boundary(*end)).unwrap_or(0);
    &value[..end]
}
