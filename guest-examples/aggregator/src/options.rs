use std::cell::RefCell;

use nephometer_guest::{OptionError, OptionReader, log};
use serde_json::Value;

/// What is not `source` and `target`.
pub(crate) const KEYS: [&str; 6] =
    ["size", "retention_time", "project_id", "user_id", "resource_metadata", "timestamp"];

/// Which sample of a group something is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    First,
    Last,
}

/// Where the metadata of a group come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Metadata {
    Of(Which),
    Drop,
}

/// What makes a group, and when it is given out.
#[derive(Debug)]
pub(crate) struct Policies {
    /// After so many samples.
    pub(crate) size: Option<u64>,
    /// When the first sample is older than this, in nanoseconds.
    pub(crate) retention: Option<u64>,
    /// `None`: groups are made by project.
    pub(crate) project_id: Option<Which>,
    /// `None`: groups are made by user.
    pub(crate) user_id: Option<Which>,
    pub(crate) metadata: Metadata,
    pub(crate) timestamp: Which,
}

impl Policies {
    pub(crate) fn read(options: &Value, errors: &RefCell<Vec<OptionError>>) -> Self {
        let read = OptionReader::new(options, errors);
        let retention = number(&read, "retention_time").filter(|seconds| *seconds > 0.0);
        let size = number(&read, "size").filter(|size| *size >= 1.0);
        // Upstream has a size of 1 beside a retention_time too unless told otherwise, which makes
        // the time mean nothing.
        let size = size.or(retention.is_none().then_some(1.0));
        Self {
            size: size.map(whole),
            retention: retention.map(|seconds| whole(seconds * 1e9)),
            project_id: which(&read, "project_id", Which::Last),
            user_id: which(&read, "user_id", Which::Last),
            metadata: match read.text("resource_metadata") {
                Some("drop") => Metadata::Drop,
                _ => Metadata::Of(
                    which(&read, "resource_metadata", Which::Last).unwrap_or(Which::Last),
                ),
            },
            timestamp: which(&read, "timestamp", Which::First).unwrap_or(Which::First),
        }
    }
}

/// A number, also as text, as Python's `int` and `float` take it.
fn number(read: &OptionReader<'_>, key: &str) -> Option<f64> {
    let number = match read.value(key)? {
        Value::String(text) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
        _ => return read.number(key),
    };
    if number.is_none() {
        read.refuse(key, "is a text that is no number");
    }
    number
}

/// A word; one that is unknown is said and stands for `otherwise`, as upstream has it.
fn which(read: &OptionReader<'_>, key: &str, otherwise: Which) -> Option<Which> {
    Some(match read.text(key)? {
        "first" => Which::First,
        "last" => Which::Last,
        other => {
            log::warn(&format!("{key} is {other:?}, which is neither first nor last"));
            otherwise
        }
    })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "not below 0; what is larger than can be is as good as never"
)]
fn whole(number: f64) -> u64 {
    number as u64
}
