//! Samples that leave a chain, without a copy where a batch passed unchanged.

use std::ops::Deref;
use std::sync::Arc;

use nephometer_model::{Batch, Sample};

/// An owned list of samples, or all samples of a shared batch.
#[derive(Debug, Clone)]
pub enum SampleList {
    /// All samples of this batch, not copied.
    Batch(Arc<Batch>),
    /// An owned list.
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
    /// The samples, copied only if the batch is still shared.
    pub fn into_vec(self) -> Vec<Sample> {
        match self {
            Self::Own(samples) => samples,
            Self::Batch(batch) => Arc::try_unwrap(batch)
                .map_or_else(|shared| shared.samples.clone(), |own| own.samples),
        }
    }
}
