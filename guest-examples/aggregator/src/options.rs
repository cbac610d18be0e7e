//! The options that define groups and when they are emitted.

use std::cell::RefCell;

use nephometer_guest::{OptionError, OptionReader, log};
use serde_json::Value;

/// The option keys besides `source` and `target`.
pub(crate) const KEYS: [&str; 6] =
    ["size", "retention_time", "project_id", "user_id", "resource_metadata", "timestamp"];

/// The sample of a group that a value is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SampleChoice {
    First,
    Last,
}

/// The metadata of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MetadataPolicy {
    Keep(SampleChoice),
    Drop,
}

/// How samples are grouped, and when the groups are emitted.
#[derive(Debug)]
pub(crate) struct Policies {
    /// Emit after this many samples of all groups.
    pub(crate) size: Option<u64>,
    /// Emit when the first sample is older than this, in nanoseconds.
    pub(crate) retention: Option<u64>,
    /// `None`: one group per project.
    pub(crate) project_id: Option<SampleChoice>,
    /// `None`: one group per user.
    pub(crate) user_id: Option<SampleChoice>,
    pub(crate) metadata: MetadataPolicy,
    pub(crate) timestamp: SampleChoice,
}

impl Policies {
    pub(crate) fn read(options: &Value, errors: &RefCell<Vec<OptionError>>) -> Self {
        let read = OptionReader::new(options, errors);
        let retention = number(&read, "retention_time").filter(|seconds| *seconds > 0.0);
        let size = number(&read, "size").filter(|size| *size >= 1.0);
        // Ceilometer defaults to a size of 1 even with a retention_time, so the time has no effect.
        let size = size.or(retention.is_none().then_some(1.0));
        Self {
            size: size.map(to_u64),
            retention: retention.map(|seconds| to_u64(seconds * 1e9)),
            project_id: sample_choice(&read, "project_id", SampleChoice::Last),
            user_id: sample_choice(&read, "user_id", SampleChoice::Last),
            metadata: match read.text("resource_metadata") {
                Some("drop") => MetadataPolicy::Drop,
                _ => MetadataPolicy::Keep(
                    sample_choice(&read, "resource_metadata", SampleChoice::Last)
                        .unwrap_or(SampleChoice::Last),
                ),
            },
            timestamp: sample_choice(&read, "timestamp", SampleChoice::First)
                .unwrap_or(SampleChoice::First),
        }
    }
}

/// A number, also one in a string, as Python's `int` and `float` accept it.
fn number(read: &OptionReader<'_>, key: &str) -> Option<f64> {
    let number = match read.value(key)? {
        Value::String(text) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
        _ => return read.number(key),
    };
    if number.is_none() {
        read.refuse(key, "is a string that is not a number");
    }
    number
}

/// Reads `first` or `last`. Any other word is logged and stands for `default`, as in Ceilometer.
fn sample_choice(
    read: &OptionReader<'_>,
    key: &str,
    default: SampleChoice,
) -> Option<SampleChoice> {
    Some(match read.text(key)? {
        "first" => SampleChoice::First,
        "last" => SampleChoice::Last,
        other => {
            log::warn(&format!("{key} is {other:?}, neither first nor last; using the default"));
            default
        }
    })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "not below 0; a saturated limit is never reached"
)]
fn to_u64(number: f64) -> u64 {
    number as u64
}
