//! Lifecycle events between polling cycles: a first sample when a domain starts or changes, a last
//! one when it stops.
//!
//! Runs inside the poll task of the sources, so that timestamps of a resource never go back.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use serde_json::json;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use uuid::Uuid;

use super::PollTask;
use super::gaps::DomainObservation;
use super::meters::{self, CATALOGUE, Measurement};
use nephometer_model::{
    DomainEvent, DomainState, LifecycleEvent, Moment, Polled, Resource, StopReason, Volume,
};

/// Waits for the next event; forever if the hypervisor has no events.
pub(super) async fn next_event(
    events: &mut Option<Receiver<(DomainEvent, Moment)>>,
) -> (DomainEvent, Moment) {
    loop {
        let Some(receiver) = events else { return pending().await };
        match receiver.recv().await {
            Ok(event) => return event,
            // The next cycle makes up for dropped events.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => *events = None,
        }
    }
}

impl PollTask {
    /// Makes the batches of an event. Sources that get nothing from it are left out.
    pub(super) async fn handle_event(&mut self, event: DomainEvent, at: Moment) -> Vec<Polled> {
        // Any event may change the description: a resize redefines the domain.
        self.context.hypervisor.invalidate_description(event.uuid);
        let mut polled = match event.what {
            LifecycleEvent::Started | LifecycleEvent::Changed => {
                self.sample_started(event.uuid).await
            }
            LifecycleEvent::Stopped(reason) => self.sample_stopped(event.uuid, reason, at),
            LifecycleEvent::Other => Vec::new(),
        };
        polled.iter_mut().for_each(|one| one.whole = false);
        polled.retain(|one| {
            let Polled { batch, gaps, .. } = one;
            !(batch.samples.is_empty() && batch.removed.is_empty() && gaps.is_empty())
        });
        let samples: usize = polled.iter().map(|one| one.batch.samples.len()).sum();
        self.context.counts.polled.fetch_add(samples as u64, Relaxed);
        polled
    }

    /// All selected meters of a domain, read now.
    async fn sample_started(&mut self, uuid: Uuid) -> Vec<Polled> {
        // A failure here repeats in the next cycle, which reports it.
        let Ok(Some(cycle)) = self.context.hypervisor.begin_cycle().await else {
            return Vec::new();
        };
        let Ok(list) = self.domains.list().await else { return Vec::new() };
        let (mut measurements, mut missing) = (Vec::new(), Vec::new());
        if let Some(domain) = list.domains.iter().find(|domain| domain.uuid == uuid)
            && let Some(reading) = self.reader.read_one(domain, self.selection.groups()).await
        {
            let state = reading.state.unwrap_or(DomainState::NoState);
            let resources = self.domains.resources_of(domain, state);
            let mut measured = Vec::new();
            self.meters.measure(&reading, resources, &self.selection, &mut measured);
            let meters = measured.iter().map(|one| one.meter).collect();
            let taken = reading.taken.wall;
            let lacking = self.domains.lacks_metadata(domain);
            let uncounted = meters::without_statistics(&reading, domain, &self.selection);
            let observed =
                DomainObservation { domain, taken, meters, changed: true, lacking, uncounted };
            missing = self.gaps.record_reading(observed);
            measurements.extend(measured.into_iter().map(|one| (reading.taken, one)));
        }
        for source in &mut self.sources {
            source.extend_selection(&self.meters);
        }
        let mut polled = self.batches(cycle, &measurements, &list.removed);
        self.report_gaps(cycle, &missing, &mut polled);
        polled
    }

    /// The final state of a domain. Its counters cannot be read any more, so the sample carries the
    /// time of their last reading instead of repeating them.
    fn sample_stopped(&mut self, uuid: Uuid, reason: StopReason, at: Moment) -> Vec<Polled> {
        let Some(domain) = self.domains.find(uuid) else { return Vec::new() };
        let Some(meter) = CATALOGUE.iter().position(meters::is_power_state) else {
            return Vec::new();
        };
        let state = match reason {
            StopReason::Crashed => DomainState::Crashed,
            _ => DomainState::ShutOff,
        };
        let last = self.gaps.last_reading(uuid);
        let mut resource = Resource::clone(&self.domains.resources_of(&domain, state).vm());
        let boundary = json!({
            "event": "stopped",
            "reason": reason.as_str(),
            "last_reading": last.map(|time| time.iso()),
        });
        resource.metadata.insert("boundary".to_owned(), boundary);
        // A cycle in progress may have read the domain after the event was sent.
        let wall = last.map_or(at.wall, |last| last.max(at.wall));
        let missing = self.gaps.record_stop(&domain, wall);
        let taken = Moment { wall, ..at };
        let volume = Volume::from(u64::from(state.number()));
        let state = Measurement { meter, resource: Arc::new(resource), volume };
        let mut polled = self.batches(taken, &[(taken, state)], &[]);
        self.report_gaps(taken, &missing, &mut polled);
        polled
    }
}
