//! `/v1/audit`: what is proved of a project's samples; `/v1/audit/evidence`: the signed file of it.

use std::io::{self, Sink, Write};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nephometer_audit::{EvidenceWriter, Findings, TrustedKeys};
use nephometer_model::Bound;
use serde_json::{Value, json};

use super::conditions::{Parameters, moment};
use super::error::ApiError;
use crate::audit::{AuditFailure, audit, own_key, trusted_keys};
use crate::ingest::writer::now;
use crate::store::{EvidenceQuery, Reader, StoreError, TimeRange};

/// What audits of clients need besides the store.
#[derive(Debug, Default)]
pub(crate) struct AuditSettings {
    /// `audit.keys`
    pub(crate) keys: Option<PathBuf>,
    /// `store.window`
    pub(crate) window: Duration,
    /// `store.path`, where the collector's own key is.
    pub(crate) folder: PathBuf,
    /// Held while that key is read: of two that are made at one moment one would be lost.
    pub(crate) signing: Mutex<()>,
}

/// What a client asks for.
pub(super) struct AuditRequest {
    project: String,
    times: TimeRange,
    hosts: Vec<String>,
}

impl AuditRequest {
    /// Reads the parameters; `own` is the only project that the client may see.
    pub(super) fn read(parameters: &Parameters, own: Option<&str>) -> Result<Self, ApiError> {
        let last = |name: &str| {
            let found = parameters.iter().rev().find(|(known, _)| known == name);
            found.map(|(_, value)| value.as_str())
        };
        let time = |name: &str| {
            let text = last(name).unwrap_or_default();
            let wrong = || ApiError::invalid(name, text, "A time such as 2026-11-01");
            moment(text).ok_or_else(wrong)
        };
        let project = match (last("project"), own) {
            (Some(asked), Some(own)) if asked != own => return Err(ApiError::other_project(asked)),
            (asked, own) => asked.or(own),
        };
        let Some(project) = project else {
            return Err(ApiError::client(400, "Name a project, and the times from and to"));
        };
        let times = TimeRange { start: time("from")?, end: time("to")? };
        if times.start >= times.end {
            return Err(ApiError::client(400, "The time to is not behind from"));
        }
        let hosts = parameters.iter().filter(|(name, _)| name == "host");
        let hosts = hosts.map(|(_, value)| value.clone()).collect();
        Ok(Self { project: project.to_owned(), times, hosts })
    }

    /// The answer, as JSON.
    pub(super) fn answer(
        self,
        reader: &mut dyn Reader,
        settings: &AuditSettings,
    ) -> Result<Value, AuditFailure> {
        let trusted = trusted_keys(settings.keys.as_deref())?;
        let findings = audit::<Sink>(reader, &self.query(&trusted, settings), None)?;
        let within = Bound::QueryEntries.check(entries(&findings));
        within.map_err(|error| StoreError::Bound(error.to_string()))?;
        let mut value = json!(findings);
        value["text"] = json!(findings.line());
        Ok(value)
    }

    /// The signed evidence, as `audit --output` writes it.
    pub(super) fn evidence(
        self,
        reader: &mut dyn Reader,
        settings: &AuditSettings,
    ) -> Result<Vec<u8>, AuditFailure> {
        let trusted = trusted_keys(settings.keys.as_deref())?;
        let key = {
            let _guard = settings.signing.lock().unwrap_or_else(PoisonError::into_inner);
            own_key(&settings.folder)?
        };
        let mut answer = BoundedAnswer::default();
        let mut writer = EvidenceWriter::new(&mut answer);
        let written = audit(reader, &self.query(&trusted, settings), Some(&mut writer));
        let written = written.and_then(|_| Ok(writer.finish(&key)?));
        // In memory nothing else can fail.
        written.map_err(|error| match error {
            AuditFailure::Write(error) => StoreError::Bound(error.to_string()).into(),
            other => other,
        })?;
        Ok(answer.0)
    }

    fn query<'t>(self, trusted: &'t TrustedKeys, settings: &AuditSettings) -> EvidenceQuery<'t> {
        let Self { project, times, hosts } = self;
        EvidenceQuery { project, times, hosts, trusted, window: settings.window, now: now() }
    }
}

/// Evidence in memory, up to a bound.
#[derive(Default)]
struct BoundedAnswer(Vec<u8>);

impl Write for BoundedAnswer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let within = Bound::EvidenceAnswer.check(self.0.len() + bytes.len());
        within.map_err(|error| io::Error::other(error.to_string()))?;
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn entries(findings: &Findings) -> usize {
    let missing: usize = findings.series.iter().map(|one| one.missing.len()).sum();
    findings.series.len() + findings.gaps.len() + missing
}
