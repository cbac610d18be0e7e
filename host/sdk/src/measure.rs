//! What a transformer costs by the sample, the whole way through the host.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nephometer_model::{Batch, Moment, Resource, Sample, Timestamp, Volume};
use nephometer_pipeline::transform::{ComponentTransformer, TransformError, Transformer};

/// Measures batches of so many rows that are like a sample, for at least this time. Each row is of a
/// resource of its own; from batch to batch time and volumes grow.
///
/// # Errors
/// If the transformer fails.
pub async fn measure(
    transformer: &mut ComponentTransformer,
    like: &mut Sample,
    rows: usize,
    time: Duration,
) -> Result<Measured, TransformError> {
    let mut batch = Rows::new(like, rows);
    let mut took = Vec::new();
    let (begun, mut out) = (Instant::now(), 0);
    while took.len() < 3 || begun.elapsed() < time {
        let next = Arc::new(batch.next());
        let now = Instant::now();
        let made = transformer.transform(&next).await?;
        took.push(now.elapsed());
        out = made.into_samples(&next).len();
        // What is held back is given out, and not measured.
        transformer.flush(next.cycle_start).await?;
    }
    // The next size goes on from here: nothing is older than what the component has seen.
    like.taken = batch.cycle_start;
    took.sort_unstable();
    let median = took[took.len() / 2].as_secs_f64() * 1e9;
    Ok(Measured { nanos: median / rows as f64, batches: took.len(), out })
}

/// What was measured.
pub struct Measured {
    /// Nanoseconds a row, the median of the batches.
    pub nanos: f64,
    /// Batches.
    pub batches: usize,
    /// Rows that the last batch gave.
    pub out: usize,
}

/// Batches of rows that are like a sample, each a second after the one before.
struct Rows {
    samples: Vec<Sample>,
    cycle_start: Moment,
}

impl Rows {
    fn new(like: &Sample, rows: usize) -> Self {
        let samples = (0..rows).map(|row| {
            let id = Arc::from(format!("{}-{row}", like.resource.id));
            let resource = Arc::new(Resource { id, ..(*like.resource).clone() });
            Sample { resource, ..like.clone() }
        });
        Self { samples: samples.collect(), cycle_start: like.taken }
    }

    fn next(&mut self) -> Batch {
        const SECOND: u64 = 1_000_000_000;
        let wall = Timestamp::from_nanos(self.cycle_start.wall.as_nanos() + SECOND);
        let continuous = self.cycle_start.continuous.map(|nanos| nanos + SECOND);
        self.cycle_start = Moment { wall, continuous, ..self.cycle_start };
        for (row, sample) in self.samples.iter_mut().enumerate() {
            sample.taken = self.cycle_start;
            sample.volume = match sample.volume {
                Volume::Integer(volume) => Volume::Integer(volume + 1_000_000 + row as i128),
                Volume::Float(volume) => Volume::Float(volume + 1.5),
            };
        }
        let (cycle_start, samples) = (self.cycle_start, self.samples.clone());
        Batch { source: "bench".into(), cycle_start, samples, gone: Vec::new() }
    }
}
