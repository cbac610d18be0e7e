//! Reading all domains of a tick in slices, a few at once.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use futures_util::StreamExt;
use futures_util::stream;
use uuid::Uuid;

use super::PollContext;
use super::quarantine::Quarantine;
use crate::inspect::ReadError;
use crate::model::{Domain, Groups, Reading};
use crate::telemetry::events;

/// What is remembered about domains from tick to tick: who does not answer, who cannot be read.
pub(super) struct Readings {
    context: PollContext,
    quarantine: Quarantine,
    failing: HashSet<Uuid>,
}

type Answer = (Arc<Domain>, Result<Reading, ReadError>);

impl Readings {
    pub(super) fn new(context: PollContext) -> Self {
        Self { context, quarantine: Quarantine::default(), failing: HashSet::new() }
    }

    /// The readings that could be had, in the order of `domains`. Those that shared a call with a
    /// domain that does not answer are asked once more; what is missing then is counted.
    pub(super) async fn read(
        &mut self,
        domains: &[Arc<Domain>],
        groups: Groups,
    ) -> Vec<(Arc<Domain>, Reading)> {
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
        self.context.counts.missing.fetch_add(left_alone.len() as u64, Relaxed);
        answers.into_iter().filter_map(|(domain, answer)| self.take(domain, answer)).collect()
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

    fn take(
        &mut self,
        domain: Arc<Domain>,
        answer: Result<Reading, ReadError>,
    ) -> Option<(Arc<Domain>, Reading)> {
        let error = match answer {
            Ok(reading) => {
                if self.failing.remove(&domain.uuid) {
                    events::poll::read_again(&domain.name);
                }
                return Some((domain, reading));
            }
            // A domain that went away between listing and reading is not missing.
            Err(ReadError::Gone) => return None,
            Err(error) => error,
        };
        self.context.counts.missing.fetch_add(1, Relaxed);
        if matches!(error, ReadError::Stuck) {
            if self.quarantine.admit(domain.uuid) {
                events::poll::quarantined(&domain.name);
            }
        } else if self.failing.insert(domain.uuid) {
            events::poll::read_failed(&domain.name, &error);
        }
        None
    }
}
