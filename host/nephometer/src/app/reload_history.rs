//! The last reloads of this run: when, why, what changed and what was refused.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::reload_request::ReloadReport;
use nephometer_libvirt::schedule::Clock;
use nephometer_model::Timestamp;

/// Reloads that are kept.
const KEPT: usize = 50;

/// A reload that was made.
#[derive(Debug, Clone)]
pub(super) struct ReloadEntry {
    pub(super) at: Timestamp,
    /// `files` or `requested`.
    pub(super) cause: &'static str,
    pub(super) report: ReloadReport,
}

/// The reloads since the start, the last ones with their reports.
#[derive(Debug)]
pub(super) struct ReloadHistory {
    clock: Clock,
    reloads: Mutex<Reloads>,
}

#[derive(Debug, Default)]
struct Reloads {
    last: ReloadReport,
    /// Oldest first.
    entries: VecDeque<ReloadEntry>,
    applied: u64,
    refused: u64,
}

impl ReloadHistory {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, reloads: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Reloads> {
        // No code under the lock panics half-way.
        self.reloads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a reload. One that found nothing to do is only counted.
    pub(super) fn add(&self, cause: &'static str, report: ReloadReport) {
        let mut reloads = self.lock();
        if report.problems.is_empty() {
            reloads.applied += 1;
        } else {
            reloads.refused += 1;
        }
        reloads.last = report.clone();
        if report.changes.is_empty() && report.problems.is_empty() {
            return;
        }
        if reloads.entries.len() == KEPT {
            reloads.entries.pop_front();
        }
        reloads.entries.push_back(ReloadEntry { at: self.clock.now().wall, cause, report });
    }

    /// The report of the last one.
    pub(super) fn last(&self) -> ReloadReport {
        self.lock().last.clone()
    }

    /// Those that are kept, newest first.
    pub(super) fn all(&self) -> Vec<ReloadEntry> {
        self.lock().entries.iter().rev().cloned().collect()
    }

    /// The number of those without and with refused changes.
    pub(super) fn counts(&self) -> (u64, u64) {
        let reloads = self.lock();
        (reloads.applied, reloads.refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(changes: &[&str], problems: &[&str]) -> ReloadReport {
        let texts = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
        ReloadReport { changes: texts(changes), problems: texts(problems) }
    }

    #[test]
    fn a_reload_without_changes_is_only_counted() {
        let history = ReloadHistory::new(Clock::start());
        history.add("files", report(&[], &[]));
        assert!(history.all().is_empty());
        history.add("files", report(&["a"], &["b"]));
        assert_eq!(history.last().problems, ["b"]);
        history.add("requested", report(&[], &[]));
        assert!(history.last().problems.is_empty());
        assert_eq!((history.all().len(), history.counts()), (1, (2, 1)));
        for _ in 0..=KEPT {
            history.add("files", report(&["a"], &[]));
        }
        assert_eq!(history.all().len(), KEPT);
    }
}
