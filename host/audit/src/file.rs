//! Files of evidence: a JSON object on each line, and the seal on the last one.

use std::io::{self, BufRead, Read as _, Write};

use nephometer_model::Bound;
use nephometer_proof::{PublicKey, SigningKey};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::auditor::{AuditError, Auditor};
use super::evidence::EvidenceLine;
use super::findings::Findings;
use super::seal::{Seal, SealError, Sealing, check_seal};
use super::trusted::TrustedKeys;

/// Lines that are verified at once.
const LINES: usize = 1_000;

/// Why a file of evidence cannot be verified.
#[derive(Debug, Error)]
pub enum EvidenceError {
    /// It cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A line is no evidence.
    #[error("line {line}: {what}; make the file anew with `nephometer-collector audit`")]
    Line {
        /// From 1.
        line: u64,
        /// What is wrong.
        what: String,
    },
    /// Lines stand where they may not.
    #[error(transparent)]
    Order(#[from] AuditError),
    /// It was changed.
    #[error(transparent)]
    Seal(#[from] SealError),
}

#[derive(Serialize, Deserialize)]
struct SealLine {
    seal: Seal,
}

/// Writes a file of evidence.
pub struct EvidenceWriter<W> {
    out: W,
    sealing: Sealing,
}

impl<W: Write> EvidenceWriter<W> {
    /// Begins a file.
    pub fn new(out: W) -> Self {
        Self { out, sealing: Sealing::default() }
    }

    /// Writes a line.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn write(&mut self, line: &EvidenceLine) -> io::Result<()> {
        let bytes = serde_json::to_vec(line)?;
        self.sealing.add(&bytes);
        self.out.write_all(&bytes)?;
        self.out.write_all(b"\n")
    }

    /// Signs the lines with the collector's key, and ends the file.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn finish(mut self, key: &SigningKey) -> io::Result<()> {
        let seal = serde_json::to_vec(&SealLine { seal: self.sealing.sign(key) })?;
        self.out.write_all(&seal)?;
        self.out.write_all(b"\n")?;
        self.out.flush()
    }
}

/// Verifies a file of evidence with the keys of agents and, if it is known, that of the collector. The
/// second value is the key that has signed the file.
///
/// # Errors
/// If it cannot be read, a line is no evidence, or the seal does not hold: then nothing is concluded.
pub fn verify(
    mut input: impl BufRead,
    trusted: &TrustedKeys,
    collector: Option<&PublicKey>,
) -> Result<(Findings, PublicKey), EvidenceError> {
    let (mut sealing, mut auditor, mut pending) = (Sealing::default(), None, Vec::new());
    let (mut seal, mut number, mut bytes) = (None, 0, Vec::new());
    let most = Bound::EvidenceLine.most();
    loop {
        bytes.clear();
        input.by_ref().take(most).read_until(b'\n', &mut bytes)?;
        if bytes.is_empty() {
            break;
        }
        number += 1;
        let wrong = |what: String| EvidenceError::Line { line: number, what };
        if seal.is_some() {
            return Err(wrong("a line behind the seal".to_owned()));
        }
        let Some(line) = bytes.strip_suffix(b"\n") else {
            let cut = "it has no end, or is longer than evidence_line_bytes";
            return Err(wrong(cut.to_owned()));
        };
        if line.starts_with(b"{\"seal\"") {
            let read: SealLine = serde_json::from_slice(line).map_err(|e| wrong(e.to_string()))?;
            seal = Some(read.seal);
            continue;
        }
        sealing.add(line);
        let read = serde_json::from_slice(line).map_err(|error| wrong(error.to_string()))?;
        match (&mut auditor, read) {
            (None, EvidenceLine::Scope(scope)) => auditor = Some(Auditor::new(trusted, scope)),
            (None, _) => return Err(wrong("the first line is not the scope".to_owned())),
            (Some(_), other) => pending.push(other),
        }
        if let Some(auditor) = auditor.as_mut().filter(|_| pending.len() >= LINES) {
            auditor.take(std::mem::take(&mut pending))?;
        }
    }
    let end = || EvidenceError::Line { line: number, what: "the file has no seal".to_owned() };
    let (seal, mut auditor) = seal.zip(auditor).ok_or_else(end)?;
    auditor.take(pending)?;
    check_seal(&seal, &sealing, collector)?;
    Ok((auditor.finish(), seal.key))
}
