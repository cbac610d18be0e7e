use std::sync::Arc;

use super::{Gap, Moment, Sample};

/// The number of a batch in the journal, from 1 on: what all that is kept about a batch is filed
/// under. 0 is the place before the first.
pub type Offset = u64;

/// The samples of one tick of one source: what is handed over and accounted for.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The name of the source in `pipeline.yaml`.
    pub source: Arc<str>,
    /// The start of the tick: what transformers are flushed with.
    pub cycle_start: Moment,
    /// In the order in which they are published.
    pub samples: Vec<Sample>,
    /// Ids of resources that will not come again.
    pub gone: Vec<Arc<str>>,
}

/// What one tick gave to one source.
#[derive(Debug, Clone)]
pub struct Polled {
    /// What it has.
    pub batch: Arc<Batch>,
    /// And what it has not.
    pub gaps: Vec<Gap>,
}
