//! Samples and their values.

use std::sync::Arc;

use uuid::Uuid;

use super::{Meter, Moment, Resource};

/// A value. Distinguishes 1 from 1.0, because message signatures do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Volume {
    /// A whole number, exact over all 64-bit integers of both signs.
    Integer(i128),
    /// A floating-point number. Always finite.
    Float(f64),
}

impl Volume {
    /// The nearest double, which components see.
    #[expect(
        clippy::cast_precision_loss,
        reason = "components see doubles; the exact value stays with the sample"
    )]
    pub fn as_f64(self) -> f64 {
        match self {
            // Fast path: nearly all values fit.
            Self::Integer(whole) => match i64::try_from(whole) {
                Ok(small) => small as f64,
                Err(_) => whole as f64,
            },
            Self::Float(float) => float,
        }
    }

    /// Whether this is a whole number, written without a decimal point.
    pub fn is_integer(self) -> bool {
        matches!(self, Self::Integer(_))
    }
}

impl From<u64> for Volume {
    fn from(value: u64) -> Self {
        Self::Integer(i128::from(value))
    }
}

/// One value of one meter of one resource at one time.
#[derive(Debug, Clone)]
pub struct Sample {
    /// `message_id` on the wire; see [`super::HostId`].
    pub id: Uuid,
    /// The meter.
    pub meter: Arc<Meter>,
    /// The metered resource.
    pub resource: Arc<Resource>,
    /// The value, in the meter's unit.
    pub volume: Volume,
    /// The time of the value. Computed samples have no monotonic clock, as upstream.
    pub taken: Moment,
}
