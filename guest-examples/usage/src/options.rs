//! The options.

use std::cell::RefCell;

use nephometer_guest::{OptionError, OptionReader, Timestamp};
use serde_json::Value;

use crate::window::{Calendar, WindowKind};

const GRACE: f64 = 3_600.0;
const LATE: f64 = 7_200.0;
const GAP: f64 = 900.0;

/// What becomes of the growth in a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GapPolicy {
    Interpolate,
    Hold,
    Exclude,
}

impl GapPolicy {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Interpolate => "interpolate",
            Self::Hold => "hold",
            Self::Exclude => "exclude",
        }
    }
}

/// How usage is counted. Times are in nanoseconds.
#[derive(Debug, Clone)]
pub(crate) struct Policies {
    pub(crate) calendar: Calendar,
    pub(crate) zone: String,
    pub(crate) grace: Timestamp,
    pub(crate) late: Timestamp,
    pub(crate) gap: Timestamp,
    pub(crate) gaps: GapPolicy,
    /// Whether what a new counter shows at its first sample counts.
    pub(crate) includes_initial: bool,
}

impl Policies {
    /// Reads the options, which fit the schema. Returns the meters as well.
    pub(crate) fn read(options: &Value) -> Result<(Self, Vec<String>), Vec<OptionError>> {
        let errors = RefCell::default();
        let read = OptionReader::new(options, &errors);
        let kind = match read.text("window") {
            Some("hour") => WindowKind::Hour,
            Some("month") => WindowKind::Month,
            _ => WindowKind::Day,
        };
        let gaps = match read.text("gaps") {
            Some("hold") => GapPolicy::Hold,
            Some("exclude") => GapPolicy::Exclude,
            _ => GapPolicy::Interpolate,
        };
        let zone = read.text("timezone").unwrap_or("UTC").to_owned();
        let calendar = Calendar::new(kind, &zone);
        if calendar.is_none() {
            read.refuse("timezone", "is unknown; write a name such as Europe/Berlin, or UTC");
        }
        let seconds = |key: &str, default: f64| nanoseconds(read.number(key).unwrap_or(default));
        let (grace, late, gap) =
            (seconds("grace", GRACE), seconds("late", LATE), seconds("gap", GAP));
        let includes_initial = read.text("initial") == Some("include");
        let meters = read.value("meters").and_then(Value::as_array);
        let meters = meters.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
        let meters: Vec<String> = meters.collect();
        match calendar {
            Some(calendar) if errors.borrow().is_empty() => {
                let policies = Self { calendar, zone, grace, late, gap, gaps, includes_initial };
                Ok((policies, meters))
            }
            _ => Err(errors.take()),
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the schema has bounded it to a year"
)]
fn nanoseconds(seconds: f64) -> Timestamp {
    (seconds * 1e9) as Timestamp
}
