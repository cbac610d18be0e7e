//! Beginnings and ends of domains, between the ticks: a first sample when one starts or changes, a
//! last one when it stops. They go through the task of their source, so that times of a resource never
//! go back.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use serde_json::json;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use uuid::Uuid;

use super::PollTask;
use super::gaps::Got;
use super::meters::{self, CATALOGUE, Measured};
use nephometer_model::{
    DomainEvent, DomainState, LifecycleEvent, Moment, Polled, Resource, StopReason, Volume,
};

/// Waits for what happens next; for ever if nobody tells.
pub(super) async fn next(
    happenings: &mut Option<Receiver<(DomainEvent, Moment)>>,
) -> (DomainEvent, Moment) {
    loop {
        let Some(receiver) = happenings else { return pending().await };
        match receiver.recv().await {
            Ok(event) => return event,
            // What was missed is seen at the next tick.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => *happenings = None,
        }
    }
}

impl PollTask {
    /// What a happening gives to the sources; those that it gives nothing are left out.
    pub(super) async fn boundary(&mut self, event: DomainEvent, at: Moment) -> Vec<Polled> {
        // Whatever it was, it may be described otherwise now: a resize defines a domain anew.
        self.context.hypervisor.forget(event.uuid);
        let mut polled = match event.what {
            LifecycleEvent::Started | LifecycleEvent::Changed => self.first(event.uuid).await,
            LifecycleEvent::Stopped(reason) => self.last(event.uuid, reason, at),
            LifecycleEvent::Other => Vec::new(),
        };
        polled.retain(|one| {
            let Polled { batch, gaps } = one;
            !(batch.samples.is_empty() && batch.gone.is_empty() && gaps.is_empty())
        });
        let samples: usize = polled.iter().map(|one| one.batch.samples.len()).sum();
        self.context.counts.polled.fetch_add(samples as u64, Relaxed);
        polled
    }

    /// All that can be read of a domain now.
    async fn first(&mut self, uuid: Uuid) -> Vec<Polled> {
        // What fails here fails at the next tick again, and is told there.
        let Ok(Some(cycle)) = self.context.hypervisor.begin_cycle().await else {
            return Vec::new();
        };
        let Ok(listed) = self.domains.list().await else { return Vec::new() };
        let (mut rows, mut missed) = (Vec::new(), Vec::new());
        if let Some(domain) = listed.domains.iter().find(|domain| domain.uuid == uuid)
            && let Some(reading) = self.readings.one(domain, self.wanted.groups()).await
        {
            let state = reading.state.unwrap_or(DomainState::NoState);
            let described = self.domains.described(domain, state);
            let mut measured = Vec::new();
            self.meters.measure(&reading, described, &self.wanted, &mut measured);
            let meters = measured.iter().map(|row| row.meter).collect();
            let got = Got { domain, taken: reading.taken.wall, meters, changed: true };
            missed = self.gaps.got(got);
            rows.extend(measured.into_iter().map(|row| (reading.taken, row)));
        }
        for source in &mut self.sources {
            source.follow(&self.meters);
        }
        let mut polled = self.batches(cycle, &rows, &listed.gone);
        self.tell_gaps(cycle, &missed, &mut polled);
        polled
    }

    /// The state that a domain has come to. Its counters cannot be read any more: they end at their
    /// last reading, which is told and not repeated.
    fn last(&mut self, uuid: Uuid, reason: StopReason, at: Moment) -> Vec<Polled> {
        let Some(domain) = self.domains.find(uuid) else { return Vec::new() };
        let Some(meter) = CATALOGUE.iter().position(meters::is_power_state) else {
            return Vec::new();
        };
        let state = match reason {
            StopReason::Crashed => DomainState::Crashed,
            _ => DomainState::ShutOff,
        };
        let last = self.gaps.last_reading(uuid);
        let mut resource = Resource::clone(&self.domains.described(&domain, state).vm());
        let boundary = json!({
            "event": "stopped",
            "reason": reason.as_str(),
            "last_reading": last.map(|time| time.iso()),
        });
        resource.metadata.insert("boundary".to_owned(), boundary);
        // A tick that was under way may have read it after it was told.
        let wall = last.map_or(at.wall, |last| last.max(at.wall));
        let missed = self.gaps.stopped(&domain, wall);
        let taken = Moment { wall, ..at };
        let volume = Volume::from(u64::from(state.number()));
        let rows = [(taken, Measured { meter, resource: Arc::new(resource), volume })];
        let mut polled = self.batches(taken, &rows, &[]);
        self.tell_gaps(taken, &missed, &mut polled);
        polled
    }
}
