//! A transformer for unit tests of chains and sinks: it sums up volumes, and fails on demand.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use uuid::Uuid;

use super::chain::Chain;
use super::{Identity, State, TransformError, Transformed, Transformer};
use nephometer_model::{
    Batch, HostId, Meter, MeterType, Moment, Resource, Sample, Timestamp, Volume,
};
use nephometer_telemetry::TransformerCount;

/// Sums up all volumes and replaces each sample by the sum; a flush returns the sum once more.
/// Fails on `poison`, `failures` times.
struct SummingTransformer {
    sum: f64,
    poison: f64,
    failures: Arc<AtomicUsize>,
    flush_failures: Arc<AtomicUsize>,
    received: Arc<Mutex<Vec<f64>>>,
    memory: Arc<AtomicU64>,
    rebuilt: Arc<AtomicUsize>,
    alive: bool,
}

/// Injects failures into a [`SummingTransformer`], and records the volumes that it received.
#[derive(Default, Clone)]
pub(crate) struct TestControl {
    pub(crate) failures: Arc<AtomicUsize>,
    pub(crate) flush_failures: Arc<AtomicUsize>,
    pub(crate) received: Arc<Mutex<Vec<f64>>>,
    /// Percent of the memory limit.
    pub(crate) memory: Arc<AtomicU64>,
    /// How often an instance was built again.
    pub(crate) rebuilt: Arc<AtomicUsize>,
}

pub(crate) const POISON: f64 = 13.0;
pub(crate) const REJECTED: f64 = 99.0;

fn take_one(left: &AtomicUsize) -> bool {
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
            ..Resource::default()
        }),
        volume: Volume::Float(volume),
        taken: Moment { wall: Timestamp::from_nanos(5), ..Moment::default() },
    }
}

#[async_trait]
impl Transformer for SummingTransformer {
    fn name(&self) -> &str {
        "summing"
    }

    async fn transform(&mut self, batch: &Arc<Batch>) -> Result<Transformed, TransformError> {
        if !self.alive {
            return Err(error("no instance"));
        }
        let mut output = Vec::new();
        for sample in &batch.samples {
            let volume = sample.volume.as_f64();
            self.received.lock().unwrap().push(volume);
            if volume == REJECTED {
                let (component, reason) = ("summing".to_owned(), "no".to_owned());
                return Err(TransformError::Rejected { component, reason });
            }
            self.sum += volume;
            if volume == self.poison && take_one(&self.failures) {
                self.alive = false;
                return Err(error("trap"));
            }
            output.push(self::sample(Uuid::nil(), self.sum));
        }
        Ok(Transformed::Samples(output))
    }

    async fn flush(&mut self, _now: Moment) -> Result<Vec<Sample>, TransformError> {
        if take_one(&self.flush_failures) {
            self.alive = false;
        }
        if !self.alive {
            return Err(error("no instance"));
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
        self.rebuilt.fetch_add(1, Relaxed);
        Ok(())
    }

    fn discard(&mut self) {
        self.alive = false;
    }

    fn memory_percent(&self) -> u64 {
        self.memory.load(Relaxed)
    }

    fn cpu_nanos(&self) -> u64 {
        0
    }
}

pub(crate) fn transformer(control: &TestControl) -> Box<dyn Transformer> {
    let TestControl { failures, flush_failures, received, memory, rebuilt } = control.clone();
    Box::new(SummingTransformer {
        sum: 0.0,
        poison: POISON,
        failures,
        flush_failures,
        received,
        memory,
        rebuilt,
        alive: true,
    })
}

pub(crate) fn chain(controls: &[TestControl]) -> (Chain, Vec<Arc<TransformerCount>>) {
    let counts: Vec<Arc<TransformerCount>> = controls.iter().map(|_| Arc::default()).collect();
    let transformers = controls.iter().map(transformer).zip(counts.iter().cloned());
    let host_id = HostId(Uuid::from_u128(1));
    (Chain::new(&Arc::from("sink"), host_id, transformers.collect()), counts)
}

pub(crate) fn batch(volumes: &[f64]) -> Arc<Batch> {
    let samples = (1..).zip(volumes).map(|(id, volume)| sample(Uuid::from_u128(id), *volume));
    Arc::new(Batch {
        source: "source".into(),
        cycle_start: Moment::default(),
        samples: samples.collect(),
        removed: Vec::new(),
    })
}
