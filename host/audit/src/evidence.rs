//! The lines of an evidence file. Each is a JSON object with one key, which names its kind.
//!
//! First the scope, then for each stream its line and its batches in the order of their numbers. A
//! series has its line before its first sample. Sums and the closed month are claims of the collector,
//! which are compared with sums of the samples. Times are microseconds since the epoch.

use std::collections::BTreeMap;

use nephometer_proof::{Digest, ProvedValue, SignedRecord};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::totals::Sums;
use super::value::{read_value, write_value};

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvidenceLine {
    /// What the file is about.
    Scope(AuditScope),
    /// A meter of a resource.
    Series(SeriesEvidence),
    /// A stream, whose batches follow.
    Stream(StreamEvidence),
    /// A batch of the stream before it.
    Batch(Box<BatchEvidence>),
    /// Samples in no batch.
    Loose(LooseSamples),
    /// Sums of a day, as the collector has them.
    Day(DaySums),
    /// What the collector wrote down when the month was closed.
    Closed(ClosedMonth),
}

/// What is audited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditScope {
    /// The form of the file; 1.
    pub format: u32,
    /// The id of the project; empty for samples without one.
    pub project: String,
    /// The first time.
    pub from: i64,
    /// The time behind the last.
    pub to: i64,
    /// Names or ids of hosts; if empty, all hosts with a trusted key.
    pub hosts: Vec<String>,
    /// When the file was made, ISO 8601, UTC.
    pub made: String,
    /// Whether samples of this time were dropped, because their time was over.
    pub expired: bool,
}

/// A meter of a resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SeriesEvidence {
    /// The number that samples name it by.
    pub number: u32,
    /// The meter's name.
    pub meter: String,
    /// The meter's unit.
    pub unit: String,
    /// `gauge`, `delta` or `cumulative`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The resource's id.
    pub resource: String,
}

/// A stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamEvidence {
    /// Its id.
    pub stream: Uuid,
    /// The statements that its batches were made with.
    pub statements: Vec<SignedRecord>,
    /// What it has declared as dropped.
    pub drops: Vec<SignedRecord>,
}

/// A batch: what lies between two checkpoints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BatchEvidence {
    /// The number of the first of `bodies`.
    pub from: u64,
    /// The digests of the bodies of its messages up to the checkpoint; `None` where one is missing.
    pub bodies: Vec<Option<Digest>>,
    /// The digest of the stream before the first body behind the last missing one.
    pub previous: Digest,
    /// The checkpoint.
    pub record: SignedRecord,
    /// The digest of the body of its message.
    pub body: Digest,
    /// The samples of the project.
    pub samples: Vec<SampleEvidence>,
    /// Samples, of any project, that the collector refused, by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refused: BTreeMap<String, u64>,
}

/// A sample: the number of its series, its id, its time, its value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SampleEvidence(
    pub u32,
    pub Box<str>,
    pub i64,
    #[serde(serialize_with = "write_value", deserialize_with = "read_value")] pub ProvedValue,
);

/// Samples that no checkpoint covers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LooseSamples {
    /// The stream that they came in; `None` if it cannot be verified.
    pub stream: Option<Uuid>,
    /// Where they came from, such as a queue.
    pub origin: String,
    /// The samples.
    pub samples: Vec<SampleEvidence>,
}

/// Sums of a series over a day of UTC.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DaySums {
    /// The number of the series.
    pub series: u32,
    /// The beginning of the day.
    pub day: i64,
    /// The sums.
    pub sums: Sums,
}

/// What was written down when a month was closed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClosedMonth {
    /// Such as `2026-11`.
    pub month: String,
    /// When it was closed, ISO 8601, UTC.
    pub closed: String,
    /// The digest over all days, resources and meters of all projects; see [`crate::month_digest`].
    pub tree: Option<Digest>,
    /// The digests of the projects in that tree, by the project's pseudonym.
    pub projects: Vec<(Digest, Digest)>,
    /// The project's days at the time of closing, where they differ from now.
    pub days: Vec<DaySums>,
    /// The project's sums.
    pub sums: Vec<ClosedSum>,
    /// What was stored since.
    pub corrections: Vec<ClosedSum>,
}

/// Sums of a meter of the project over a month.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClosedSum {
    /// The meter's name.
    pub meter: String,
    /// The meter's unit.
    pub unit: String,
    /// `gauge`, `delta` or `cumulative`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The sums.
    pub sums: Sums,
}
