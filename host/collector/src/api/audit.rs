//! `/v1/audit`: what is proved of a project's samples.

use std::io::Sink;
use std::path::PathBuf;
use std::time::Duration;

use nephometer_audit::Findings;
use nephometer_model::Bound;
use serde_json::{Value, json};

use super::conditions::{Parameters, moment};
use super::error::ApiError;
use crate::audit::{AuditFailure, audit, trusted_keys};
use crate::ingest::writer::now;
use crate::store::{EvidenceQuery, Reader, StoreError, TimeRange};

/// What audits of clients need besides the store.
#[derive(Debug, Default)]
pub(crate) struct AuditSettings {
    /// `audit.keys`
    pub(crate) keys: Option<PathBuf>,
    /// `store.window`
    pub(crate) window: Duration,
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
        let Self { project, times, hosts } = self;
        let query = EvidenceQuery {
            project,
            times,
            hosts,
            trusted: &trusted,
            window: settings.window,
            now: now(),
        };
        let findings = audit::<Sink>(reader, &query, None)?;
        let within = Bound::QueryEntries.check(entries(&findings));
        within.map_err(|error| StoreError::Bound(error.to_string()))?;
        let mut value = json!(findings);
        value["text"] = json!(findings.line());
        Ok(value)
    }
}

fn entries(findings: &Findings) -> usize {
    let missing: usize = findings.series.iter().map(|one| one.missing.len()).sum();
    findings.series.len() + findings.gaps.len() + missing
}
