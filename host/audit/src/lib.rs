//! Verifies what a collector has of a project, with nothing but the agents' public keys.
//!
//! The evidence is a file of JSON lines (`evidence`): signed records, digests and samples. The auditor
//! (`auditor`) takes them one by one and computes everything anew: signatures and numbers of each
//! stream (`stream`), digests of samples, sums (`totals`), and the times without samples (`coverage`).
//! It ends in [`Findings`] with a result. It opens no file and knows no store, so that it can be read
//! on its own.

mod auditor;
mod coverage;
mod evidence;
mod fault;
mod file;
mod findings;
mod holes;
mod notes;
mod seal;
mod stream;
mod totals;
mod tree;
mod trusted;
mod value;

pub use auditor::{AuditError, Auditor};
pub use evidence::{
    AuditScope, BatchEvidence, ClosedMonth, ClosedSum, DaySums, EvidenceLine, LooseSamples,
    SampleEvidence, SeriesEvidence, StreamEvidence,
};
pub use fault::Fault;
pub use file::{EvidenceError, EvidenceWriter, verify};
pub use findings::{AuditResult, Findings, Gap, MissingSpan};
pub use totals::Sums;
pub use tree::{Leaf, month_digest, project_digest};
pub use trusted::{TrustedKeyError, TrustedKeys};
