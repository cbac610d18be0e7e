//! Reading all domains of a tick in slices, a few at once.

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

/// What is remembered about domains from tick to tick: who does not answer, who cannot be read.
pub(super) struct Readings {
    context: PollContext,
    quarantine: Quarantine,
    failing: HashSet<Uuid>,
}

/// What became of the domains of one tick.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// In the order in which they were asked for.
    pub readings: Vec<(Arc<Domain>, Reading)>,
    /// Those that are there and could not be read.
    pub missing: Vec<(Arc<Domain>, GapReason)>,
}

type Answer = (Arc<Domain>, Result<Reading, ReadError>);

impl Readings {
    pub(super) fn new(context: PollContext) -> Self {
        Self { context, quarantine: Quarantine::default(), failing: HashSet::new() }
    }

    /// The readings that could be had, in the order of `domains`. Those that shared a call with a
    /// domain that does not answer are asked once more; what is missing then is counted.
    pub(super) async fn read(&mut self, domains: &[Arc<Domain>], groups: Groups) -> Read {
        let context = self.context.clone();
        let _alone = context.reading.lock().await;
        self.probe(domains).await;
        let (left_alone, asked): (Vec<_>, Vec<_>) =
            domains.iter().cloned().partition(|domain| self.quarantine.holds(domain.uuid));
        let mut answers = self.slices(&asked, groups).await;
        let again: Vec<Arc<Domain>> = answers
            .iter()
            .filter(|(_, answer)| matches!(answer, Err(ReadError::Unanswered)))
            .map(|(domain, _)| Arc::clone(domain))
            .collect();
        if !again.is_empty() {
            let mut second = self.slices(&again, groups).await.into_iter();
            for answer in &mut answers {
                if matches!(answer.1, Err(ReadError::Unanswered)) {
                    *answer = second.next().expect("as many answers as questions");
                }
            }
        }
        let mut read = Read::default();
        for domain in left_alone {
            read.missing.push((domain, GapReason::Stuck));
        }
        for (domain, answer) in answers {
            self.take(domain, answer, &mut read);
        }
        self.context.counts.missing.fetch_add(read.missing.len() as u64, Relaxed);
        read
    }

    /// One domain outside of a tick; `None` if it cannot be had now, which the next tick will tell.
    pub(super) async fn one(&self, domain: &Arc<Domain>, groups: Groups) -> Option<Reading> {
        if self.quarantine.holds(domain.uuid) {
            return None;
        }
        let _alone = self.context.reading.lock().await;
        let mut answers = self.context.hypervisor.read(&[Arc::clone(domain)], groups).await;
        answers.pop()?.ok()
    }

    async fn slices(&self, domains: &[Arc<Domain>], groups: Groups) -> Vec<Answer> {
        let hypervisor = &self.context.hypervisor;
        let slices: Vec<Vec<Arc<Domain>>> =
            domains.chunks(hypervisor.slice().max(1)).map(<[_]>::to_vec).collect();
        let answers: Vec<Vec<Answer>> = stream::iter(slices)
            .map(|slice| async move {
                let answers = hypervisor.read(&slice, groups).await;
                slice.into_iter().zip(answers).collect()
            })
            .buffered(self.context.parallel.max(1))
            .collect()
            .await;
        answers.into_iter().flatten().collect()
    }

    async fn probe(&mut self, domains: &[Arc<Domain>]) {
        let there: HashSet<Uuid> = domains.iter().map(|domain| domain.uuid).collect();
        self.quarantine.retain(|uuid| there.contains(&uuid));
        self.failing.retain(|uuid| there.contains(uuid));
        for uuid in self.quarantine.due() {
            let Some(domain) = domains.iter().find(|domain| domain.uuid == uuid) else { continue };
            let answers = self.context.hypervisor.probe(domain).await;
            self.quarantine.probed(uuid, answers);
            if answers {
                events::poll::released(&domain.name);
            }
        }
    }

    fn take(&mut self, domain: Arc<Domain>, answer: Result<Reading, ReadError>, read: &mut Read) {
        let error = match answer {
            Ok(reading) => {
                if self.failing.remove(&domain.uuid) {
                    events::poll::read_again(&domain.name);
                }
                return read.readings.push((domain, reading));
            }
            // A domain that went away between listing and reading is not missing.
            Err(ReadError::Gone) => return,
            Err(error) => error,
        };
        if matches!(error, ReadError::Stuck) {
            if self.quarantine.admit(domain.uuid) {
                events::poll::quarantined(&domain.name);
            }
        } else if self.failing.insert(domain.uuid) {
            events::poll::read_failed(&domain.name, &error);
        }
        let reason = match error {
            ReadError::Stuck => GapReason::Stuck,
            ReadError::Unanswered => GapReason::Timeout,
            ReadError::Gone | ReadError::Failed(_) => GapReason::Failed,
        };
        read.missing.push((domain, reason));
    }
}
