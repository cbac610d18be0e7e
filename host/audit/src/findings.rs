//! What an audit has found, and its result.

use std::collections::BTreeMap;

use nephometer_proof::Digest;
use serde::Serialize;
use uuid::Uuid;

use super::evidence::AuditScope;
use super::fault::Fault;
use super::totals::Sums;

/// The end of an audit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditResult {
    /// All samples that the agents have sent are here, unaltered.
    Complete,
    /// The same, but for what the agents declare or their numbers show not to have been sent.
    CompleteWithDeclaredGaps,
    /// At least one fault was found.
    NotProvable,
}

/// A kind of fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FoundFault {
    /// Its identifier.
    pub id: Fault,
    /// How often it was found.
    pub count: u64,
    /// Where it was found first.
    pub first: String,
}

/// The faults that were found.
#[derive(Debug, Default)]
pub(crate) struct Faults(BTreeMap<Fault, (u64, String)>);

impl Faults {
    pub(crate) fn add(&mut self, fault: Fault, place: String) {
        self.0.entry(fault).or_insert((0, place)).0 += 1;
    }

    pub(crate) fn into_list(self) -> Vec<FoundFault> {
        let all = self.0.into_iter();
        all.map(|(id, (count, first))| FoundFault { id, count, first }).collect()
    }
}

/// Something that a stream lacks, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// The host's name.
    pub host: String,
    /// The reason: that of a declared drop, or `agent_silent`.
    pub reason: String,
    /// The last time before it, ISO 8601, UTC.
    pub from: String,
    /// The first time after it.
    pub to: String,
    /// The first and the last missing number; `None` if the numbers go on.
    pub numbers: Option<[u64; 2]>,
    /// Samples of all projects that the agent has declared as dropped, if it knows.
    pub samples: Option<u64>,
}

/// A time without samples of a meter of a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MissingSpan {
    /// The last sample before it, ISO 8601, UTC.
    pub from: String,
    /// The first sample after it.
    pub to: String,
    /// The reason: that of a gap; `not_sampled` if the agent has signed batches without it; `moved` if
    /// another host has the resource afterwards.
    pub reason: String,
}

/// A stream that was verified.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VerifiedStream {
    /// Its id.
    pub stream: Uuid,
    /// The host's name.
    pub host: String,
    /// The sink and the publisher.
    pub sink: String,
    /// The publisher.
    pub publisher: String,
    /// The first and the last cycle, ISO 8601, UTC.
    pub cycles: Option<[String; 2]>,
    /// Batches with a checkpoint.
    pub batches: u64,
}

/// A component that has touched the numbers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct UsedTransformer {
    /// The host's name.
    pub host: String,
    /// The component.
    pub component: String,
    /// SHA-256 of its file.
    pub digest: String,
    /// SHA-256 of its options.
    pub options: String,
}

/// What was found of a meter of a resource.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AuditedSeries {
    /// The resource's id.
    pub resource: String,
    /// The meter's name.
    pub meter: String,
    /// The meter's unit.
    pub unit: String,
    /// `gauge`, `delta` or `cumulative`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The hosts that have sent it, in the order of their first samples.
    pub hosts: Vec<String>,
    /// Seconds between samples, as stated; `None` for meters that transformers make.
    pub interval: Option<f64>,
    /// The first and the last sample, ISO 8601, UTC.
    pub times: Option<[String; 2]>,
    /// Sums of the samples that are proved.
    pub sums: Sums,
    /// Samples that are not proved.
    pub unproved: u64,
    /// Times without samples.
    pub missing: Vec<MissingSpan>,
}

/// What an audit has found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Findings {
    /// The result.
    pub result: AuditResult,
    /// What was audited.
    pub scope: AuditScope,
    /// Why it is not provable.
    pub faults: Vec<FoundFault>,
    /// What the streams lack, declared or shown by their numbers.
    pub gaps: Vec<Gap>,
    /// The streams.
    pub streams: Vec<VerifiedStream>,
    /// What has touched the numbers.
    pub transformers: Vec<UsedTransformer>,
    /// By resource and meter.
    pub series: Vec<AuditedSeries>,
    /// Samples that were stored after the month was closed, by meter, unit and type.
    pub corrections: Vec<(String, u64)>,
    /// The digest of the closed month's sums, if it was closed.
    pub closed: Option<Digest>,
    /// Sentences about resources on several hosts, hosts with a new id, and reasons.
    pub notes: Vec<String>,
}

impl Findings {
    /// The result as words, with the faults.
    pub fn line(&self) -> String {
        match self.result {
            AuditResult::Complete => "complete".to_owned(),
            AuditResult::CompleteWithDeclaredGaps => "complete with declared gaps".to_owned(),
            AuditResult::NotProvable => {
                let faults: Vec<&str> = self.faults.iter().map(|one| one.id.as_str()).collect();
                format!("not provable because {}", faults.join(", "))
            }
        }
    }

    /// Whether a fault was found.
    pub fn has(&self, fault: Fault) -> bool {
        self.faults.iter().any(|one| one.id == fault)
    }
}
