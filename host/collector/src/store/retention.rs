//! Which samples are stored, and in which class.

use nephometer_config::{KeepSpec, RetentionClass};
use nephometer_model::Timestamp;

use super::{WriteRule, age};
use crate::sample::{Measurement, Refusal};

/// The class of a meter: the first one with a matching pattern. The default one has none and takes the
/// rest.
pub(crate) fn class_of<'a>(keep: &'a KeepSpec, meter: &str) -> &'a str {
    let matches = |class: &&RetentionClass| {
        class.meters.is_empty() || class.meters.iter().any(|glob| glob.matches(meter))
    };
    keep.classes.iter().find(matches).map_or("default", |class| &class.name)
}

/// Why a sample is refused; `None` if it is within the window.
pub(crate) fn outside(
    keep: &KeepSpec,
    sample: &Measurement,
    rule: WriteRule,
    now: Timestamp,
) -> Option<Refusal> {
    if age(sample.time, now) > keep.ahead {
        return Some(Refusal::TooEarly);
    }
    let old = age(now, sample.time) > keep.window;
    (old && rule == WriteRule::InWindow).then_some(Refusal::TooOld)
}
