//! Histograms of libvirt: groups of numbers, of which two are a bin.
//!
//! libvirt 12.1 has them for the latency of disks whose definition asks for them, as
//! `block.N.latency_histogram.OPERATION.bin.I.start` (in ns) and `.value` (how many operations since the
//! domain started, or since the histogram was configured). Polling makes a sample of each number; the
//! resource of a bin is a part of its disk.

use std::collections::BTreeMap;

use super::native;
use super::series::cut;
use super::text::{Exposition, FamilyKind, write_labels};
use nephometer_model::{Bound, Sample, Volume};

const METER: &str = "libvirt.block.latency_histogram.";
const FAMILY: &str = "nephometer_guest_block_latency_seconds";

/// One bin, which may lack a number.
#[derive(Debug, Default)]
struct Bin {
    /// In ns.
    start: Option<u64>,
    value: Option<u64>,
}

/// All histograms of an exposition.
#[derive(Debug, Default)]
pub(super) struct Histograms {
    /// By labels, then by the index of the bin.
    all: BTreeMap<String, BTreeMap<u64, Bin>>,
    bins: usize,
    /// Bins that did not fit.
    pub(super) left_out: usize,
}

impl Histograms {
    /// Takes a sample that is a number of a bin. Returns `false` for all others.
    pub(super) fn add(&mut self, sample: &Sample) -> bool {
        let Some((operation, number)) = number(sample) else { return false };
        let part = sample.resource.metadata.get("part").and_then(serde_json::Value::as_str);
        let Some(part) = part else { return false };
        let index = part.rsplit('.').next().and_then(|index| index.parse().ok());
        let Some(index) = index else { return false };
        let Volume::Integer(volume) = sample.volume else { return false };
        let Ok(volume) = u64::try_from(volume) else { return false };
        let mut labels = native::labels(sample);
        let disk = sample.resource.id.strip_suffix(&format!("-{part}"));
        labels.insert("resource".to_owned(), disk.unwrap_or(&sample.resource.id).to_owned());
        labels.insert("operation".to_owned(), operation.to_owned());
        let mut text = String::new();
        write_labels(&mut text, labels.iter().map(|(name, value)| (name.as_str(), cut(value))));
        let bins = self.all.entry(text).or_default();
        if !bins.contains_key(&index) {
            if Bound::ScrapeSeries.check(self.bins + 1).is_err() {
                self.left_out += 1;
                return true;
            }
            self.bins += 1;
        }
        let bin = bins.entry(index).or_default();
        match number {
            "start" => bin.start = Some(volume),
            _ => bin.value = Some(volume),
        }
        true
    }

    /// Writes the family, if there is any histogram. The sum of the values is not known.
    pub(super) fn write(&self, exposition: &mut Exposition) {
        if self.all.is_empty() {
            return;
        }
        let help = "Duration of the operations of a disk, in the bins of its definition.";
        exposition.family(FAMILY, FamilyKind::Histogram, "seconds", help);
        for (labels, bins) in &self.all {
            let Some((buckets, count)) = buckets(bins) else { continue };
            exposition.written_histogram(labels, &buckets, (None, count));
        }
    }
}

/// The operation and the kind of number, if the meter is one of a bin.
fn number(sample: &Sample) -> Option<(&str, &str)> {
    let (operation, number) = sample.meter.name.strip_prefix(METER)?.split_once(".bin.")?;
    matches!(number, "start" | "value").then_some((operation, number))
}

/// Cumulative counts by upper bound, and their total. `None` if a number is missing: half a histogram
/// would show operations that never were.
fn buckets(bins: &BTreeMap<u64, Bin>) -> Option<(Vec<(f64, u64)>, u64)> {
    let complete: Option<Vec<(u64, u64)>> =
        bins.values().map(|bin| Some((bin.start?, bin.value?))).collect();
    let mut complete = complete?;
    complete.sort_unstable();
    let mut total = 0_u64;
    let mut buckets = Vec::new();
    for (at, (_, value)) in complete.iter().enumerate() {
        total = total.checked_add(*value)?;
        // A bin ends where the next one begins.
        if let Some((next, _)) = complete.get(at + 1) {
            buckets.push((seconds(*next), total));
        }
    }
    Some((buckets, total))
}

#[expect(clippy::cast_precision_loss, reason = "bounds of latencies are far below 2^53 ns")]
fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}
