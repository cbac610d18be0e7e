//! What one batch adds to the ledger of one transformer.

use std::collections::HashSet;
use std::sync::atomic::Ordering::Relaxed;

use uuid::Uuid;

use nephometer_model::Sample;
use nephometer_telemetry::{Dropped, TransformerCount};

/// Numbers of samples of one batch at one transformer.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) samples_in: u64,
    pub(super) passed: u64,
    pub(super) absorbed: u64,
    pub(super) rejected: u64,
    pub(super) failed: u64,
    pub(super) created: u64,
}

impl Tally {
    /// Adds the numbers to the transformer's counters.
    pub(super) fn add_to(self, count: &TransformerCount) {
        count.samples_in.fetch_add(self.samples_in, Relaxed);
        count.passed.fetch_add(self.passed, Relaxed);
        count.absorbed.fetch_add(self.absorbed, Relaxed);
        count.dropped.add(Dropped::Rejected, self.rejected);
        count.dropped.add(Dropped::Failed, self.failed);
        count.created.fetch_add(self.created, Relaxed);
    }
}

/// How many samples of `input` are not in `output`.
pub(super) fn absorbed(input: &[Sample], output: &[Sample]) -> u64 {
    // Most transformers keep the order: then one pass is enough.
    let mut ids = output.iter().map(|sample| sample.id).filter(|id| !id.is_nil()).peekable();
    let missing = input.iter().filter(|sample| ids.next_if_eq(&sample.id).is_none()).count();
    if ids.peek().is_none() {
        return missing as u64;
    }
    let ids: HashSet<Uuid> = output.iter().map(|sample| sample.id).collect();
    input.iter().filter(|sample| !ids.contains(&sample.id)).count() as u64
}

#[cfg(test)]
mod tests {
    use super::super::summing_transformer::sample;
    use super::*;

    #[test]
    fn samples_missing_from_the_output_are_absorbed_in_any_order() {
        let samples = |ids: &[u128]| -> Vec<Sample> {
            ids.iter().map(|id| sample(Uuid::from_u128(*id), 0.0)).collect()
        };
        let input = samples(&[1, 2, 3, 4]);
        for (output, missing) in [
            (&[1, 2, 3, 4][..], 0),
            (&[], 4),
            (&[2, 0, 4, 0], 2),
            (&[4, 1], 2),
            (&[0, 0], 4),
            (&[3, 2, 1, 4], 0),
        ] {
            assert_eq!(absorbed(&input, &samples(output)), missing, "{output:?}");
        }
    }
}
