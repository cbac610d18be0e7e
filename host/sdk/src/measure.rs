//! Measures the cost of a transformer per sample, including the part of the host.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nephometer_model::{Batch, Moment, Resource, Sample, Timestamp, Volume};
use nephometer_pipeline::transform::{ComponentTransformer, TransformError, Transformer};

/// Measures batches of `rows` copies of a sample for at least `time`. Each copy has its own resource;
/// time and volumes grow from batch to batch. `template` ends with the time of the last batch.
///
/// # Errors
/// If the transformer fails.
pub async fn measure(
    transformer: &mut ComponentTransformer,
    template: &mut Sample,
    rows: usize,
    time: Duration,
) -> Result<Measurement, TransformError> {
    let mut batches = BatchGenerator::new(template, rows);
    let mut times = Vec::new();
    let (begun, mut samples) = (Instant::now(), 0);
    while times.len() < 3 || begun.elapsed() < time {
        let next = Arc::new(batches.next());
        let start = Instant::now();
        let output = transformer.transform(&next).await?;
        times.push(start.elapsed());
        samples = output.into_samples(&next).len();
        // Releases samples that the transformer has kept. Not measured.
        transformer.flush(next.cycle_start).await?;
    }
    // The next size continues from here, so that the component never sees an older time.
    template.taken = batches.cycle_start;
    times.sort_unstable();
    let median = times[times.len() / 2].as_secs_f64() * 1e9;
    Ok(Measurement { nanos: median / rows as f64, batches: times.len(), samples })
}

/// The result of a measurement.
pub struct Measurement {
    /// Nanoseconds per sample, the median of the batches.
    pub nanos: f64,
    /// The number of batches.
    pub batches: usize,
    /// The number of samples in the output of the last batch.
    pub samples: usize,
}

/// Generates batches of copies of a sample, one second apart.
struct BatchGenerator {
    samples: Vec<Sample>,
    cycle_start: Moment,
}

impl BatchGenerator {
    fn new(template: &Sample, rows: usize) -> Self {
        let samples = (0..rows).map(|row| {
            let id = Arc::from(format!("{}-{row}", template.resource.id));
            let resource = Arc::new(Resource { id, ..(*template.resource).clone() });
            Sample { resource, ..template.clone() }
        });
        Self { samples: samples.collect(), cycle_start: template.taken }
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
        Batch { source: "bench".into(), cycle_start, samples, removed: Vec::new() }
    }
}
