//! Converts between the agent's types and those of the contract. No other module does.
//!
//! Transformers share a dictionary of numbers with the host ([`session`]); their answers are
//! checked as a whole and become samples again ([`answer`]). Publishers receive self-contained
//! batches ([`batch`]). New samples have the nil id: the transformer chain assigns ids.

mod answer;
mod batch;
mod by_address;
mod filter;
mod metadata;
mod numbers;
mod own;
mod session;
mod size;

pub use answer::Transformed;
pub(super) use batch::SelfContainedBatch;
pub(super) use filter::Filter;
pub(super) use metadata::MetadataTexts;
pub use numbers::Numbering;
pub(super) use session::Session;

use super::bindings::nephometer::metering::types;
use nephometer_model::{Meter, MeterType, Resource, Volume};

/// From here on not every integer has an exact `f64`.
const INEXACT: u64 = 1 << 53;

fn kind(kind: types::MeterType) -> MeterType {
    match kind {
        types::MeterType::Gauge => MeterType::Gauge,
        types::MeterType::Delta => MeterType::Delta,
        types::MeterType::Cumulative => MeterType::Cumulative,
    }
}

fn meter(meter: &Meter) -> types::MeterParam<'_> {
    let type_ = match meter.kind {
        MeterType::Gauge => types::MeterType::Gauge,
        MeterType::Delta => types::MeterType::Delta,
        MeterType::Cumulative => types::MeterType::Cumulative,
    };
    types::MeterParam { name: &meter.name, unit: &meter.unit, type_ }
}

fn resource<'a>(resource: &'a Resource, metadata: &'a str) -> types::ResourceParam<'a> {
    types::ResourceParam {
        id: &resource.id,
        source: &resource.source,
        project_id: resource.project_id.as_deref(),
        user_id: resource.user_id.as_deref(),
        metadata,
    }
}

/// The value, if it is an integer that `f64` may not represent exactly.
#[inline]
fn exact(volume: Volume) -> Option<i64> {
    match volume {
        Volume::Integer(whole) if whole.unsigned_abs() >= u128::from(INEXACT) => {
            i64::try_from(whole).ok()
        }
        _ => None,
    }
}

/// The value as an integer, if it is a whole number below 2^53.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the cast is undone and compared")]
#[expect(clippy::cast_precision_loss, reason = "exact below 2^53")]
fn whole(volume: f64) -> Option<i64> {
    let whole = volume as i64;
    (whole.unsigned_abs() < INEXACT && whole as f64 == volume).then_some(whole)
}
