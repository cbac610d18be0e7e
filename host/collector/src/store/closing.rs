//! Closed months: what was in them, and what came later.

use std::collections::BTreeMap;

use nephometer_audit::month_digest;
use nephometer_model::{Timestamp, Volume};
use nephometer_proof::{Digest, ProvedValue};
use serde_json::{Value, json};

use super::selection::micros;

/// A meter of a project.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SumKey {
    pub(crate) project: Option<String>,
    pub(crate) meter: String,
    pub(crate) unit: String,
    /// `gauge`, `delta` or `cumulative`.
    pub(crate) kind: String,
}

/// Sums over samples.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct MonthSum {
    pub(crate) samples: u64,
    /// Samples with a volume.
    pub(crate) volumes: u64,
    pub(crate) sum: f64,
    pub(crate) min: Option<Volume>,
    pub(crate) max: Option<Volume>,
}

/// The sums of a month by project and meter.
pub(crate) type MonthSums = BTreeMap<SumKey, MonthSum>;

/// The record of a closed month.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Closing {
    /// Such as `2026-11`; months are those of UTC.
    pub(crate) month: String,
    pub(crate) closed: Timestamp,
    /// SHA-256 of [`Closing::text`].
    pub(crate) digest: Digest,
    pub(crate) sums: MonthSums,
    /// The digest over all days, resources and meters, [`month_digest`]; `None` if an earlier version
    /// has closed the month.
    pub(crate) tree: Option<Digest>,
    /// The projects in it: their pseudonyms and their digests.
    pub(crate) projects: Vec<(Digest, Digest)>,
}

/// What was stored after a month was closed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Corrections {
    pub(crate) closing: Closing,
    pub(crate) late: Vec<Correction>,
    /// Why the record and the corrections do not add up to what the month has; `None` if they do, or
    /// if files of the month have been dropped.
    pub(crate) difference: Option<String>,
}

/// Late samples of a meter of a project.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Correction {
    pub(crate) key: SumKey,
    pub(crate) sums: MonthSum,
    /// When the first and the last of them arrived.
    pub(crate) arrived: [Timestamp; 2],
}

impl MonthSum {
    pub(crate) fn add(&mut self, other: &Self) {
        self.samples += other.samples;
        self.volumes += other.volumes;
        self.sum += other.sum;
        let less = |one: &Volume, two: &Volume| one.as_f64() < two.as_f64();
        self.min = chosen(self.min, other.min, less);
        self.max = chosen(self.max, other.max, |one, two| less(two, one));
    }
}

fn chosen(
    one: Option<Volume>,
    two: Option<Volume>,
    first: impl Fn(&Volume, &Volume) -> bool,
) -> Option<Volume> {
    match (one, two) {
        (Some(one), Some(two)) => Some(if first(&two, &one) { two } else { one }),
        (one, two) => one.or(two),
    }
}

impl Closing {
    /// A record with its digest.
    pub(crate) fn new(
        month: &str,
        closed: Timestamp,
        sums: MonthSums,
        mut projects: Vec<(Digest, Digest)>,
    ) -> Self {
        let (month, digest) = (month.to_owned(), Digest::of(&[]));
        let tree = Some(month_digest(&month, &mut projects));
        let mut closing = Self { month, closed, digest, sums, tree, projects };
        closing.digest = Digest::of(closing.text().as_bytes());
        closing
    }

    /// Whether the record is as it was written.
    pub(crate) fn is_intact(&self) -> bool {
        self.digest == Digest::of(self.text().as_bytes())
    }

    /// What the digest is of: JSON lines, first the month, the time of closing in microseconds since
    /// the epoch and the digest over days, then the sums in the order of their keys.
    pub(crate) fn text(&self) -> String {
        let head = match &self.tree {
            Some(tree) => json!([self.month, micros(self.closed), tree]),
            None => json!([self.month, micros(self.closed)]),
        };
        let mut text = head.to_string() + "\n";
        for (key, sums) in &self.sums {
            let SumKey { project, meter, unit, kind } = key;
            let MonthSum { samples, volumes, sum, min, max } = sums;
            let [min, max] = [min, max].map(|volume| shown_volume(*volume));
            let line = json!([project, meter, unit, kind, samples, volumes, sum, min, max]);
            text.push_str(&line.to_string());
            text.push('\n');
        }
        text
    }
}

/// Whether the record and the corrections have all samples of the month.
pub(crate) fn difference(
    closing: &Closing,
    late: &[Correction],
    found: &MonthSums,
) -> Option<String> {
    let mut expected = closing.sums.clone();
    for one in late {
        expected.entry(one.key.clone()).or_default().add(&one.sums);
    }
    let count = |sums: &MonthSums| sums.values().map(|sums| sums.samples).sum::<u64>();
    let same = expected.len() == found.len()
        && expected
            .iter()
            .all(|(key, sums)| found.get(key).is_some_and(|found| found.samples == sums.samples));
    (!same).then(|| {
        let (expected, found) = (count(&expected), count(found));
        format!("the record and the corrections have {expected} samples, the month has {found}")
    })
}

/// A volume as audits prove it.
pub(crate) fn proved(stored: Option<Volume>) -> ProvedValue {
    match stored {
        None => ProvedValue::Null,
        Some(Volume::Integer(whole)) => ProvedValue::integer(whole),
        Some(Volume::Float(float)) => ProvedValue::Double(float),
    }
}

/// A volume as JSON.
pub(crate) fn shown_volume(volume: Option<Volume>) -> Value {
    match volume {
        None => Value::Null,
        Some(Volume::Integer(whole)) => i64::try_from(whole)
            .map_or_else(|_| json!(Volume::Integer(whole).as_f64()), |whole| json!(whole)),
        Some(Volume::Float(float)) => json!(float),
    }
}

/// What was erased of a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Erased {
    /// Files with resources of the project.
    pub(crate) files: u64,
    pub(crate) resources: u64,
    /// Metadata that were emptied.
    pub(crate) revisions: u64,
    /// Dead letters with the id of the project that were removed.
    pub(crate) letters: u64,
}
