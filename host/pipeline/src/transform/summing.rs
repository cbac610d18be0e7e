//! A transformer for tests of what is around transformers: it keeps a state, and fails when asked to.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use uuid::Uuid;

use super::chain::Chain;
use super::{Identity, State, TransformError, Transformed, Transformer};
use nephometer_model::{
    Batch, HostId, Meter, MeterType, Moment, Resource, Sample, Timestamp, Volume,
};
use nephometer_telemetry::TransformerCount;

/// Adds up all it has seen and replaces each sample by the sum; at the end of a tick it gives the
/// sum once more. Fails as often as `failures` says when it sees `poison`.
struct Summing {
    sum: f64,
    poison: f64,
    failures: Arc<AtomicUsize>,
    flush_failures: Arc<AtomicUsize>,
    seen: Arc<Mutex<Vec<f64>>>,
    alive: bool,
}

/// What makes it fail, and what it saw.
#[derive(Default, Clone)]
pub(crate) struct Knobs {
    pub(crate) failures: Arc<AtomicUsize>,
    pub(crate) flush_failures: Arc<AtomicUsize>,
    pub(crate) seen: Arc<Mutex<Vec<f64>>>,
}

pub(crate) const POISON: f64 = 13.0;
pub(crate) const REJECTED: f64 = 99.0;

fn take(left: &AtomicUsize) -> bool {
    left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok()
}

fn error(reason: &str) -> TransformError {
    TransformError::Failed { component: "summing".to_owned(), reason: reason.to_owned() }
}

pub(crate) fn sample(id: Uuid, volume: f64) -> Sample {
    Sample {
        id,
        meter: Arc::new(Meter::new("m", MeterType::Gauge, "")),
        resource: Arc::new(Resource {
            id: "r".into(),
            source: "openstack".into(),
            project_id: None,
            user_id: None,
            metadata: serde_json::Map::new(),
        }),
        volume: Volume::Float(volume),
        taken: Moment { wall: Timestamp::from_nanos(5), ..Moment::default() },
    }
}

#[async_trait]
impl Transformer for Summing {
    fn name(&self) -> &str {
        "summing"
    }

    async fn transform(&mut self, batch: &Arc<Batch>) -> Result<Transformed, TransformError> {
        if !self.alive {
            return Err(error("gone"));
        }
        let mut out = Vec::new();
        for given in &batch.samples {
            let volume = given.volume.as_f64();
            self.seen.lock().unwrap().push(volume);
            if volume == REJECTED {
                let (component, reason) = ("summing".to_owned(), "no".to_owned());
                return Err(TransformError::Rejected { component, reason });
            }
            self.sum += volume;
            if volume == self.poison && take(&self.failures) {
                self.alive = false;
                return Err(error("trap"));
            }
            out.push(sample(Uuid::nil(), self.sum));
        }
        Ok(Transformed::Samples(out))
    }

    async fn flush(&mut self, _now: Moment) -> Result<Vec<Sample>, TransformError> {
        if take(&self.flush_failures) {
            self.alive = false;
        }
        if !self.alive {
            return Err(error("gone"));
        }
        Ok(vec![sample(Uuid::nil(), self.sum)])
    }

    fn identity(&self) -> Identity {
        Identity { component: "summing".into(), digest: [0; 32], options: "{}".to_owned() }
    }

    async fn save(&mut self) -> Result<Option<State>, TransformError> {
        Ok(Some(State { version: 1, bytes: Arc::new(self.sum.to_le_bytes().to_vec()) }))
    }

    async fn rebuild(&mut self, state: Option<&State>) -> Result<(), TransformError> {
        let sum = |state: &State| f64::from_le_bytes(state.bytes.as_slice().try_into().unwrap());
        self.sum = state.map_or(0.0, sum);
        self.alive = true;
        Ok(())
    }

    fn discard(&mut self) {
        self.alive = false;
    }
}

pub(crate) fn chain(knobs: &[Knobs]) -> (Chain, Vec<Arc<TransformerCount>>) {
    let counts: Vec<Arc<TransformerCount>> = knobs.iter().map(|_| Arc::default()).collect();
    let slots = knobs.iter().zip(&counts).map(|(knobs, count)| {
        let Knobs { failures, flush_failures, seen } = knobs.clone();
        let slot =
            Summing { sum: 0.0, poison: POISON, failures, flush_failures, seen, alive: true };
        (Box::new(slot) as Box<dyn Transformer>, Arc::clone(count))
    });
    let revision = HostId(Uuid::from_u128(1));
    (Chain::new(&Arc::from("sink"), revision, slots.collect()), counts)
}

pub(crate) fn batch(volumes: &[f64]) -> Arc<Batch> {
    let samples = (1..).zip(volumes).map(|(id, volume)| sample(Uuid::from_u128(id), *volume));
    Arc::new(Batch {
        source: "source".into(),
        cycle_start: Moment::default(),
        samples: samples.collect(),
        gone: Vec::new(),
    })
}
