//! Reads all domains of a polling cycle: in slices, a few slices at once.
//!
//! Owns the quarantine and which domains currently fail, so that each failure is logged once. A
//! domain that cannot be read never affects the readings of the others.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use futures_util::StreamExt;
use futures_util::stream;
use uuid::Uuid;

use super::PollContext;
use super::quarantine::Quarantine;
use crate::hypervisor::ReadError;
use nephometer_model::{Domain, GapReason, Groups, Reading};
use nephometer_telemetry::events;

/// Reads domains, and remembers from cycle to cycle which do not answer or cannot be read.
pub(super) struct DomainReader {
    context: PollContext,
    quarantine: Quarantine,
    failing: HashSet<Uuid>,
}

/// The readings of one cycle.
#[derive(Debug, Default)]
pub(super) struct CycleReadings {
    /// In the order of the request.
    pub readings: Vec<(Arc<Domain>, Reading)>,
    /// Domains that exist and could not be read.
    pub missing: Vec<(Arc<Domain>, GapReason)>,
}

type ReadResult = (Arc<Domain>, Result<Reading, ReadError>);

impl DomainReader {
    pub(super) fn new(context: PollContext) -> Self {
        Self { context, quarantine: Quarantine::default(), failing: HashSet::new() }
    }

    /// Reads domains; the readings keep the order of `domains`. A domain that shared a call with
    /// one that did not answer is read a second time before it counts as missing.
    pub(super) async fn read(&mut self, domains: &[Arc<Domain>], groups: Groups) -> CycleReadings {
        let context = self.context.clone();
        let _exclusive = context.read_lock.lock().await;
        self.probe_quarantined(domains).await;
        let (quarantined, active): (Vec<_>, Vec<_>) =
            domains.iter().cloned().partition(|domain| self.quarantine.contains(domain.uuid));
        let mut results = self.read_slices(&active, groups).await;
        let retry: Vec<Arc<Domain>> = results
            .iter()
            .filter(|(_, result)| matches!(result, Err(ReadError::SharedTimeout)))
            .map(|(domain, _)| Arc::clone(domain))
            .collect();
        if !retry.is_empty() {
            let mut retried = self.read_slices(&retry, groups).await.into_iter();
            for result in &mut results {
                if matches!(result.1, Err(ReadError::SharedTimeout)) {
                    *result = retried.next().expect("one result per domain");
                }
            }
        }
        let mut cycle = CycleReadings::default();
        for domain in quarantined {
            cycle.missing.push((domain, GapReason::Stuck));
        }
        for (domain, result) in results {
            self.record(domain, result, &mut cycle);
        }
        self.context.counts.missing.fetch_add(cycle.missing.len() as u64, Relaxed);
        cycle
    }

    /// Reads one domain outside a cycle. `None` if that fails: the next cycle reports it.
    pub(super) async fn read_one(&self, domain: &Arc<Domain>, groups: Groups) -> Option<Reading> {
        if self.quarantine.contains(domain.uuid) {
            return None;
        }
        let _exclusive = self.context.read_lock.lock().await;
        let mut results = self.context.hypervisor.read(&[Arc::clone(domain)], groups).await;
        results.pop()?.ok()
    }

    async fn read_slices(&self, domains: &[Arc<Domain>], groups: Groups) -> Vec<ReadResult> {
        let hypervisor = &self.context.hypervisor;
        let slices: Vec<Vec<Arc<Domain>>> =
            domains.chunks(hypervisor.slice_size().max(1)).map(<[_]>::to_vec).collect();
        let results: Vec<Vec<ReadResult>> = stream::iter(slices)
            .map(|slice| async move {
                let results = hypervisor.read(&slice, groups).await;
                slice.into_iter().zip(results).collect()
            })
            .buffered(self.context.parallel.max(1))
            .collect()
            .await;
        results.into_iter().flatten().collect()
    }

    async fn probe_quarantined(&mut self, domains: &[Arc<Domain>]) {
        let existing: HashSet<Uuid> = domains.iter().map(|domain| domain.uuid).collect();
        self.quarantine.retain(|uuid| existing.contains(&uuid));
        self.failing.retain(|uuid| existing.contains(uuid));
        for uuid in self.quarantine.due_for_probe() {
            let Some(domain) = domains.iter().find(|domain| domain.uuid == uuid) else { continue };
            let responds = self.context.hypervisor.probe(domain).await;
            self.quarantine.record_probe(uuid, responds);
            if responds {
                events::poll::domain_released(&domain.name);
            }
        }
    }

    fn record(
        &mut self,
        domain: Arc<Domain>,
        result: Result<Reading, ReadError>,
        cycle: &mut CycleReadings,
    ) {
        let error = match result {
            Ok(reading) => {
                if self.failing.remove(&domain.uuid) {
                    events::poll::read_restored(&domain.name);
                }
                return cycle.readings.push((domain, reading));
            }
            // A domain that was removed between listing and reading is not missing.
            Err(ReadError::Removed) => return,
            Err(error) => error,
        };
        if matches!(error, ReadError::Stuck) {
            if self.quarantine.admit(domain.uuid) {
                events::poll::domain_quarantined(&domain.name);
            }
        } else if self.failing.insert(domain.uuid) {
            events::poll::read_failed(&domain.name, &error);
        }
        let reason = match error {
            ReadError::Stuck => GapReason::Stuck,
            ReadError::SharedTimeout => GapReason::Timeout,
            ReadError::Removed | ReadError::Failed(_) => GapReason::Failed,
        };
        cycle.missing.push((domain, reason));
    }
}
