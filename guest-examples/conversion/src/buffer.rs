//! Samples that a transformer buffers until a later flush, and their saved state.
//!
//! A buffered sample holds names and ids instead of numbers of the dictionary, because a state is
//! restored by another instance. In version 1 of the states volumes were `f64`:
//! `BufferedSample<f64>`. The order of fields is the format of the state and must not change.

use nephometer_guest::{AnswerBuilder, Meter, MeterType, Resource, Row, Timestamp, Volume};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// At most this many samples are buffered.
pub const MAX_SAMPLES: u64 = 100_000;

/// One sample with its whole meter and resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BufferedSample<V = Volume> {
    /// Name of the meter.
    pub name: String,
    /// Unit of the meter.
    pub unit: String,
    #[serde(with = "SavedMeterType")]
    /// Type of the meter.
    pub kind: MeterType,
    /// Id of the resource.
    pub id: String,
    /// Source of the resource.
    pub source: String,
    /// Project of the resource.
    pub project_id: Option<String>,
    /// User of the resource.
    pub user_id: Option<String>,
    /// Metadata of the resource: a JSON object as text.
    pub metadata: String,
    /// When the value was true, in nanoseconds since the epoch.
    pub time: Timestamp,
    /// The value, in the unit of the meter.
    pub volume: V,
}

impl From<BufferedSample<f64>> for BufferedSample {
    fn from(old: BufferedSample<f64>) -> Self {
        let BufferedSample {
            name,
            unit,
            kind,
            id,
            source,
            project_id,
            user_id,
            metadata,
            time,
            volume,
        } = old;
        let volume = volume.into();
        Self { name, unit, kind, id, source, project_id, user_id, metadata, time, volume }
    }
}

/// A meter type in a state.
#[derive(Serialize, Deserialize)]
#[serde(remote = "MeterType")]
enum SavedMeterType {
    Gauge,
    Delta,
    Cumulative,
}

impl BufferedSample {
    /// Copies a row. The settings must ask for all metadata (`*`), so that nothing is lost.
    pub fn from_row(row: &Row<'_>) -> Self {
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

    /// Replaces the meter.
    pub fn with_meter(self, meter: Meter) -> Self {
        Self { name: meter.name, unit: meter.unit, kind: meter.type_, ..self }
    }

    /// Adds the sample to the answer to a flush.
    pub fn add_to(self, answer: &mut AnswerBuilder<'_>) {
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

/// A count that the schema has found to be whole, at most [`MAX_SAMPLES`].
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to 0 and MAX_SAMPLES"
)]
pub fn sample_count(number: f64) -> usize {
    number.clamp(0.0, MAX_SAMPLES as f64) as usize
}

/// Encodes a state.
///
/// # Errors
/// If it cannot be encoded.
pub fn save(state: &impl Serialize) -> Result<Vec<u8>, String> {
    postcard::to_allocvec(state).map_err(|error| error.to_string())
}

/// Decodes a state.
///
/// # Errors
/// If it is damaged.
pub fn parse<T: DeserializeOwned>(state: &[u8]) -> Result<T, String> {
    postcard::from_bytes(state).map_err(|_| "the state is damaged".to_owned())
}

/// The reason why a state of a later version is refused.
pub fn unknown_version(written: u32, newest_read: u32) -> String {
    format!("state of version {written}; this component reads 1 to {newest_read}")
}
