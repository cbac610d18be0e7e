//! Samples between two transformers.

use std::ops::Deref;
use std::sync::Arc;

use nephometer_model::{Batch, Sample};

/// Samples that leave a chain: their own list, or all samples of a batch that passed unchanged.
#[derive(Debug, Clone)]
pub enum SampleList {
    /// All samples of this batch. They are not copied.
    Batch(Arc<Batch>),
    /// These.
    Own(Vec<Sample>),
}

impl Deref for SampleList {
    type Target = [Sample];

    fn deref(&self) -> &[Sample] {
        match self {
            Self::Batch(batch) => &batch.samples,
            Self::Own(samples) => samples,
        }
    }
}

impl SampleList {
    /// The samples; copied only if somebody else has the batch, too.
    pub fn into_vec(self) -> Vec<Sample> {
        match self {
            Self::Own(samples) => samples,
            Self::Batch(batch) => Arc::try_unwrap(batch)
                .map_or_else(|shared| shared.samples.clone(), |own| own.samples),
        }
    }
}
