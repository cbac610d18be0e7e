//! Samples that are kept until later, and states made of them.
//!
//! In version 1 of these states volumes were `f64`: `Held<f64>`.

use nephometer_guest::{AnswerBuilder, Meter, MeterType, Resource, Row, Timestamp, Volume};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// How many samples are kept at most.
pub const MOST: u64 = 100_000;

/// One sample, with all that belongs to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Held<V = Volume> {
    /// Of its meter.
    pub name: String,
    /// Of its meter.
    pub unit: String,
    #[serde(with = "Kind")]
    /// Of its meter.
    pub kind: MeterType,
    /// Of its resource.
    pub id: String,
    /// Of its resource.
    pub source: String,
    /// Of its resource.
    pub project_id: Option<String>,
    /// Of its resource.
    pub user_id: Option<String>,
    /// Of its resource: the text of an object.
    pub metadata: String,
    /// When it was true.
    pub time: Timestamp,
    /// Its value.
    pub volume: V,
}

impl From<Held<f64>> for Held {
    fn from(old: Held<f64>) -> Self {
        let Held { name, unit, kind, id, source, project_id, user_id, metadata, time, volume } =
            old;
        let volume = volume.into();
        Self { name, unit, kind, id, source, project_id, user_id, metadata, time, volume }
    }
}

/// A meter's type in a state.
#[derive(Serialize, Deserialize)]
#[serde(remote = "MeterType")]
enum Kind {
    Gauge,
    Delta,
    Cumulative,
}

impl Held {
    /// A row whose resource came with all of its metadata.
    pub fn of(row: &Row<'_>) -> Self {
        Self {
            name: row.meter().name.clone(),
            unit: row.meter().unit.clone(),
            kind: row.meter().type_,
            id: row.resource().id.clone(),
            source: row.resource().source.clone(),
            project_id: row.resource().project_id.clone(),
            user_id: row.resource().user_id.clone(),
            metadata: row.resource().metadata.clone(),
            time: row.time,
            volume: row.value(),
        }
    }

    /// Of another meter.
    pub fn with_meter(self, meter: Meter) -> Self {
        Self { name: meter.name, unit: meter.unit, kind: meter.type_, ..self }
    }

    /// Adds it to the answer to a flush.
    pub fn give_out(self, answer: &mut AnswerBuilder<'_>) {
        let Self { name, unit, kind, time, volume, .. } = self;
        let meter = answer.meter(&Meter { name, unit, type_: kind });
        let resource = answer.resource(&Resource {
            id: self.id,
            source: self.source,
            project_id: self.project_id,
            user_id: self.user_id,
            metadata: self.metadata,
        });
        answer.create(meter, resource, time, volume);
    }
}

/// A count that a schema has found to be whole; what is more than is ever kept is that.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and what is ever kept"
)]
pub fn whole(number: f64) -> usize {
    number.clamp(0.0, MOST as f64) as usize
}

/// A state as bytes.
pub fn save(state: &impl Serialize) -> Result<Vec<u8>, String> {
    postcard::to_allocvec(state).map_err(|error| error.to_string())
}

/// A state from bytes.
pub fn parse<T: DeserializeOwned>(state: &[u8]) -> Result<T, String> {
    postcard::from_bytes(state).map_err(|_| "the state is damaged".to_owned())
}

/// Why a state of a later version is refused.
pub fn unknown(written: u32, read: u32) -> String {
    format!("state of version {written}; this component reads 1 to {read}")
}
