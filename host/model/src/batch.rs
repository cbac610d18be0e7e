//! Batches of samples, and the outcome of a polling cycle.

use std::sync::Arc;

use super::{Gap, Moment, Sample};

/// The offset of a batch in the journal, from 1. All stored data about a batch is keyed by it. 0 is
/// before the first batch.
pub type Offset = u64;

/// The samples of one polling cycle of one source, the unit of processing and accounting.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The name of the source in `pipeline.yaml`.
    pub source: Arc<str>,
    /// The start of the polling cycle; transformers are flushed with this time.
    pub cycle_start: Moment,
    /// In the order in which they are published.
    pub samples: Vec<Sample>,
    /// Ids of resources that were removed.
    pub removed: Vec<Arc<str>>,
}

/// The outcome of one polling cycle, or of one event, for one source.
#[derive(Debug, Clone)]
pub struct Polled {
    /// The samples.
    pub batch: Arc<Batch>,
    /// Whether the batch covers all domains, as that of a polling cycle. Otherwise it is about one
    /// domain that has started, changed or stopped between two cycles.
    pub whole: bool,
    /// The missing samples.
    pub gaps: Vec<Gap>,
}
