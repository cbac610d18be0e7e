//! Follows the samples of a meter and resource through a sink: what each transformer made of them.
//!
//! Pure. A sample that passes a transformer keeps its id; a new one belongs to those that the transformer
//! took in for the same resource.

use std::collections::HashSet;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::selection::SampleFilter;
use nephometer_model::{Sample, Volume};
use nephometer_pipeline::{PassOutcome, Passage, TapPoint};

/// Values in one list of an answer.
const VALUES: usize = 50;

/// What became of the samples in one sink, in its last polling cycle.
#[derive(Debug, Default)]
pub(super) struct SinkTrace {
    /// What came in.
    pub(super) entered: Vec<Sample>,
    /// One per transformer that they reached, and one per flush that made some.
    pub(super) steps: Vec<TraceStep>,
    /// What the publishers got of them.
    pub(super) output: Vec<Sample>,
    /// Whether one of [`Self::output`] is of the meter itself.
    pub(super) is_output: bool,
}

/// What one transformer did with them.
#[derive(Debug)]
pub(super) struct TraceStep {
    pub(super) index: usize,
    pub(super) outcome: PassOutcome,
    /// The samples that it got.
    pub(super) taken: Vec<Sample>,
    /// Those of them that it passed on.
    pub(super) passed: Vec<Sample>,
    /// New ones.
    pub(super) made: Vec<Sample>,
}

impl SinkTrace {
    /// Adds what came of another source.
    pub(super) fn add(&mut self, other: Self) {
        self.entered.extend(other.entered);
        self.steps.extend(other.steps);
        self.output.extend(other.output);
        self.is_output |= other.is_output;
    }
}

impl TraceStep {
    /// What happened, in one word.
    pub(super) fn as_str(&self) -> &'static str {
        let absorbed = self.passed.len() < self.taken.len();
        match &self.outcome {
            PassOutcome::Dropped if !self.taken.is_empty() => "dropped",
            PassOutcome::Rejected(_) => "rejected",
            PassOutcome::Kept => "bypassed",
            PassOutcome::Flushed => "flushed",
            PassOutcome::Dropped | PassOutcome::Transformed => {
                match (self.made.is_empty(), absorbed) {
                    (false, _) => "transformed",
                    (true, true) => "absorbed",
                    (true, false) => "passed",
                }
            }
        }
    }
}

/// Follows the selected samples through the passages of one batch, in their order.
pub(super) fn trace(passages: &[Passage], wanted: &SampleFilter) -> SinkTrace {
    let mut trace = SinkTrace::default();
    let mut tracked: HashSet<Uuid> = HashSet::new();
    let mut resources: HashSet<String> = HashSet::new();
    let mut input: &[Sample] = &[];
    for passage in passages {
        let output = &passage.batch.samples[..];
        let known: HashSet<Uuid> = input.iter().map(|sample| sample.id).collect();
        if let TapPoint::After(index) = passage.point {
            let flushed = passage.outcome == PassOutcome::Flushed;
            let taken: Vec<Sample> = match flushed {
                true => Vec::new(),
                false => select(input, |sample| tracked.contains(&sample.id)),
            };
            let ids: HashSet<Uuid> = taken.iter().map(|sample| sample.id).collect();
            let passed = select(output, |sample| ids.contains(&sample.id));
            let from_taken = passed.len() < taken.len() || flushed;
            let made = select(output, |sample| {
                let is_new = flushed || !known.contains(&sample.id);
                let related = from_taken && resources.contains(&*sample.resource.id);
                is_new && (related || wanted.matches(sample))
            });
            tracked.extend(made.iter().map(|sample| sample.id));
            resources.extend(made.iter().map(|sample| sample.resource.id.to_string()));
            if !taken.is_empty() || !made.is_empty() {
                // A made sample of the meter itself has causes that were not followed so far.
                let outcome = passage.outcome.clone();
                let taken = match taken.is_empty() && !flushed {
                    true => causes(input, output, &made),
                    false => taken,
                };
                trace.steps.push(TraceStep { index, outcome, taken, passed, made });
            }
        } else {
            trace.entered = select(output, |sample| wanted.matches(sample));
            tracked.extend(trace.entered.iter().map(|sample| sample.id));
            resources.extend(trace.entered.iter().map(|sample| sample.resource.id.to_string()));
        }
        if passage.is_output {
            trace.output.extend(select(output, |sample| tracked.contains(&sample.id)));
        }
        input = output;
    }
    trace.is_output = trace.output.iter().any(|sample| wanted.matches(sample));
    trace
}

fn select(samples: &[Sample], is_one: impl Fn(&Sample) -> bool) -> Vec<Sample> {
    samples.iter().filter(|sample| is_one(sample)).cloned().collect()
}

/// What a transformer took in, and did not pass on, of the resources of new samples.
fn causes(input: &[Sample], output: &[Sample], made: &[Sample]) -> Vec<Sample> {
    let passed: HashSet<Uuid> = output.iter().map(|sample| sample.id).collect();
    let resources: HashSet<&str> = made.iter().map(|sample| &*sample.resource.id).collect();
    select(input, |sample| !passed.contains(&sample.id) && resources.contains(&*sample.resource.id))
}

/// Samples as in an answer; of many, the first.
pub(super) fn values(samples: &[Sample]) -> Value {
    samples.iter().take(VALUES).map(value).collect()
}

fn value(sample: &Sample) -> Value {
    json!({
        "meter": *sample.meter.name,
        "resource": *sample.resource.id,
        "volume": volume(sample.volume),
        "unit": *sample.meter.unit,
        "type": sample.meter.kind.as_str(),
        "time": sample.taken.wall.iso(),
        "id": sample.id.to_string(),
    })
}

/// A number; the text of one that JSON cannot hold exactly.
fn volume(volume: Volume) -> Value {
    match volume {
        Volume::Integer(whole) => match (u64::try_from(whole), i64::try_from(whole)) {
            (Ok(whole), _) => whole.into(),
            (_, Ok(whole)) => whole.into(),
            _ => whole.to_string().into(),
        },
        Volume::Float(float) => float.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use nephometer_model::{Batch, Meter, MeterType, Moment, Resource};

    use super::*;

    fn sample(id: u128, meter: &str, resource: &str) -> Sample {
        Sample {
            id: Uuid::from_u128(id),
            meter: Arc::new(Meter::new(meter, MeterType::Gauge, "u")),
            resource: Arc::new(Resource { id: resource.into(), ..Resource::default() }),
            volume: Volume::Integer(1),
            taken: Moment::default(),
        }
    }

    fn passage(point: TapPoint, outcome: PassOutcome, samples: &[Sample]) -> Passage {
        let samples = samples.to_vec();
        let (cycle_start, removed) = (Moment::default(), Vec::new());
        Passage {
            point,
            sink: Some("k".into()),
            component: Some("c".into()),
            outcome,
            is_output: point == TapPoint::After(1),
            batch: Arc::new(Batch { source: "s".into(), cycle_start, samples, removed }),
        }
    }

    fn words(trace: &SinkTrace) -> Vec<(usize, &str, usize, usize)> {
        let word =
            |step: &TraceStep| (step.index, step.as_str(), step.taken.len(), step.made.len());
        trace.steps.iter().map(word).collect()
    }

    #[test]
    fn a_sample_is_followed_through_its_transformers() {
        let cpu = |id, resource| sample(id, "cpu", resource);
        let rate = sample(9, "cpu_util", "r");
        let before = passage(
            TapPoint::Before,
            PassOutcome::Transformed,
            &[cpu(1, "r"), cpu(2, "other"), sample(3, "memory", "r")],
        );
        let made = [rate.clone(), sample(8, "cpu_util", "other"), sample(3, "memory", "r")];
        let first = passage(TapPoint::After(0), PassOutcome::Transformed, &made);
        let second = passage(TapPoint::After(1), PassOutcome::Transformed, &made);
        let passages = [before.clone(), first, second];
        let of = |meter: &str| SampleFilter::new(Some(meter), Some("r")).unwrap();
        let cpu_trace = trace(&passages, &of("cpu"));
        assert_eq!(words(&cpu_trace), [(0, "transformed", 1, 1), (1, "passed", 1, 0)]);
        assert_eq!((cpu_trace.output.len(), cpu_trace.is_output), (1, false));
        let rate_trace = trace(&passages, &of("cpu_util"));
        assert_eq!(words(&rate_trace), [(0, "transformed", 1, 1), (1, "passed", 1, 0)]);
        assert_eq!(&*rate_trace.steps[0].taken[0].meter.name, "cpu", "what it was made of");
        assert!(rate_trace.is_output && rate_trace.entered.is_empty());
        let memory = trace(&passages, &of("memory"));
        assert_eq!(words(&memory), [(0, "passed", 1, 0), (1, "passed", 1, 0)]);
        assert!(memory.is_output);

        let none = passage(TapPoint::After(0), PassOutcome::Dropped, &[]);
        let dropped = trace(&[before.clone(), none], &of("cpu"));
        assert_eq!(words(&dropped), [(0, "dropped", 1, 0)]);
        let none = passage(TapPoint::After(0), PassOutcome::Transformed, &[]);
        let flushed = passage(TapPoint::After(0), PassOutcome::Flushed, &[rate]);
        let behind = passage(TapPoint::After(1), PassOutcome::Transformed, &flushed.batch.samples);
        let buffered = trace(&[before, none, flushed, behind], &of("cpu"));
        let expected = [(0, "absorbed", 1, 0), (0, "flushed", 0, 1), (1, "passed", 1, 0)];
        assert_eq!(words(&buffered), expected);
        assert_eq!(buffered.output.len(), 1);
    }

    #[test]
    fn volumes_are_exact_numbers_or_texts() {
        assert_eq!(volume(Volume::Integer(-5)), json!(-5));
        assert_eq!(volume(Volume::Integer(i128::from(u64::MAX))), json!(u64::MAX));
        assert_eq!(volume(Volume::Integer(1 << 70)), json!("1180591620717411303424"));
        assert_eq!(volume(Volume::Float(0.5)), json!(0.5));
    }
}
