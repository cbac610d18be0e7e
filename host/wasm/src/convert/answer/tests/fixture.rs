//! Batches, answers and a session for the tests of answers.

use std::sync::Arc;

use serde_json::json;
use uuid::Uuid;

use super::super::*;
use crate::bindings::exports::nephometer::metering::dictionary::{
    NumberedMeterResult, NumberedResourceResult,
};
use crate::bindings::nephometer::metering::types;
use crate::convert::filter::Filter;
use crate::convert::numbers::Numbering;
use crate::convert::own::FIRST_OWN;
use nephometer_model::{Batch, MeterType, Volume};

pub(super) const NOW: u64 = 1_700_000_000_000_000_000;
pub(super) const LARGE: i128 = (1 << 60) + 1;

pub(super) fn resource(id: &str) -> Arc<Resource> {
    Arc::new(Resource {
        id: id.into(),
        source: "openstack".into(),
        project_id: Some("p".into()),
        user_id: None,
        project_name: None,
        user_name: None,
        metadata: json!({"cpu_number": 2, "name": id}).as_object().unwrap().clone(),
    })
}

pub(super) fn sample(
    number: u128,
    meter: &Arc<Meter>,
    resource: &Arc<Resource>,
    volume: Volume,
) -> Sample {
    let wall = Timestamp::from_nanos(NOW);
    Sample {
        id: Uuid::from_u128(number),
        meter: Arc::clone(meter),
        resource: Arc::clone(resource),
        volume,
        taken: Moment { wall, continuous: Some(7), monotonic: Some(8) },
    }
}

/// Three samples: cpu of a, memory of a, cpu of b. The first is exact only as an integer.
pub(super) fn batch() -> Batch {
    let cpu = Arc::new(Meter::new("cpu", MeterType::Cumulative, "ns"));
    let memory = Arc::new(Meter::new("memory", MeterType::Gauge, "MB"));
    let (a, b) = (resource("a"), resource("b"));
    Batch {
        source: "s".into(),
        cycle_start: Moment { wall: Timestamp::from_nanos(NOW), ..Moment::default() },
        samples: vec![
            sample(1, &cpu, &a, Volume::Integer(LARGE)),
            sample(2, &memory, &a, Volume::Float(1.5)),
            sample(3, &cpu, &b, Volume::Integer(4)),
        ],
        removed: Vec::new(),
    }
}

/// The session of an instance that selects some meters, and the batch it was sent last.
pub(super) struct Fixture {
    pub(super) session: Session,
    pub(super) filter: Filter,
    pub(super) batch: Batch,
}

impl Fixture {
    pub(super) fn new(batch: Batch, meters: &[&str]) -> Self {
        let globs: Vec<String> = meters.iter().map(|glob| (*glob).to_owned()).collect();
        let session = Session::new(vec!["name".to_owned()], Numbering::Ascending);
        let mut fixture = Self { session, filter: Filter::new(&globs).unwrap(), batch };
        fixture.send();
        fixture
    }

    /// Sends the batch; returns the dictionary changes before it, as text.
    pub(super) fn send(&mut self) -> String {
        let Self { session, filter, batch } = self;
        session.select(batch, filter).unwrap();
        let texts = session.texts();
        let changes = session.changes(&texts);
        let argument = changes.argument();
        let meters = argument.meters.iter().map(|new| format!("{}={}", new.number, new.entry.name));
        let resources = argument.resources.iter();
        let resources =
            resources.map(|new| format!("{}={}{}", new.number, new.entry.id, new.entry.metadata));
        let entries: Vec<String> = meters.chain(resources).collect();
        let text = format!(
            "-{:?}-{:?} {}",
            argument.forgotten_meters,
            argument.forgotten_resources,
            entries.join(" ")
        );
        drop(changes);
        session.mark_learned();
        text
    }

    /// An answer with the rows as they were sent.
    pub(super) fn echo(&mut self) -> Answer {
        let Self { session, filter, batch } = self;
        let selected = session.select(batch, filter).unwrap();
        let sent = session.argument(&selected);
        Answer {
            meters: Vec::new(),
            resources: Vec::new(),
            origin: (0..).zip(sent.meter).map(|(row, _)| row).collect(),
            meter: sent.meter.to_vec(),
            resource: sent.resource.to_vec(),
            time: sent.time.to_vec(),
            volume: sent.volume.to_vec(),
            exact: Vec::new(),
        }
    }

    pub(super) fn transformed(&mut self, outcome: Outcome) -> Result<Vec<Sample>, String> {
        let Self { session, filter, batch } = self;
        let selected = session.select(batch, filter).unwrap();
        session.mark_learned();
        let transformed = session.transformed(outcome, &selected);
        session.forget_removed(&selected);
        transformed.map(|transformed| transformed.into_samples(batch))
    }

    pub(super) fn replace(&mut self, answer: Answer) -> Result<Vec<Sample>, String> {
        self.transformed(Outcome::Replace(answer))
    }

    pub(super) fn derive(&mut self, rows: &[(u32, u32, f64)]) -> Result<Vec<Sample>, String> {
        self.transformed(Outcome::Derive(derived(rows)))
    }
}

/// Derived rows of origin, meter and volume.
pub(super) fn derived(rows: &[(u32, u32, f64)]) -> Derived {
    Derived {
        meters: Vec::new(),
        origin: rows.iter().map(|row| row.0).collect(),
        meter: rows.iter().map(|row| row.1).collect(),
        volume: rows.iter().map(|row| row.2).collect(),
        exact: Vec::new(),
    }
}

pub(super) fn ids(samples: &[Sample]) -> Vec<u128> {
    samples.iter().map(|sample| sample.id.as_u128()).collect()
}

pub(super) fn new_meter(number: u32, name: &str) -> NumberedMeterResult {
    let entry = types::MeterResult {
        name: name.to_owned(),
        unit: "ns".into(),
        type_: types::MeterType::Cumulative,
    };
    NumberedMeterResult { number, entry }
}

pub(super) fn new_resource(number: u32, id: &str, metadata: &str) -> NumberedResourceResult {
    let entry = types::ResourceResult {
        id: id.to_owned(),
        source: String::new(),
        project_id: None,
        user_id: None,
        metadata: metadata.to_owned(),
    };
    NumberedResourceResult { number, entry }
}

/// An answer to a flush whose rows all refer to the first own entries.
pub(super) fn flush_of(
    rows: usize,
    meters: Vec<NumberedMeterResult>,
    resources: Vec<NumberedResourceResult>,
) -> Answer {
    Answer {
        meters,
        resources,
        origin: vec![NO_ORIGIN; rows],
        meter: vec![FIRST_OWN; rows],
        resource: vec![FIRST_OWN; rows],
        time: vec![NOW; rows],
        volume: vec![1.0; rows],
        exact: Vec::new(),
    }
}

pub(super) fn flushed(answer: Answer) -> Result<Vec<Sample>, String> {
    let mut session = Session::new(Vec::new(), Numbering::Ascending);
    session.flushed(Some(answer), Timestamp::from_nanos(NOW))
}
