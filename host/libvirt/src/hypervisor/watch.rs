//! Watches libvirt's events of domains, and reconnects whenever libvirtd is back.
//!
//! Owns the list revision, which shows whether a cached list of domains is still valid. Without
//! events domains are listed in each cycle.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use tokio::sync::broadcast;

use crate::libvirt::EventConnection;
use crate::schedule::Clock;
use nephometer_model::{DomainEvent, LifecycleEvent, Moment};
use nephometer_telemetry::events::hypervisor as events;

/// How often the connection is checked or reopened.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Events buffered per poll task. A task that falls further behind loses events; its next cycle
/// makes up for them.
const EVENT_BUFFER: usize = 256;

/// Broadcasts events of domains.
#[derive(Debug)]
pub(super) struct EventWatcher {
    shared: Arc<WatchState>,
}

#[derive(Debug)]
struct WatchState {
    sender: broadcast::Sender<(DomainEvent, Moment)>,
    /// Whether all events are being received.
    reporting: AtomicBool,
    /// Incremented whenever a domain may have been added or removed. Poll tasks compare it each on
    /// its own: a flag cleared by one task would hide the change from the others.
    list_revision: AtomicU64,
}

impl EventWatcher {
    /// Starts watching on a thread of its own, which ends when this is dropped.
    pub(super) fn start(uri: &str, clock: Clock) -> Self {
        let (sender, _) = broadcast::channel(EVENT_BUFFER);
        let (reporting, list_revision) = (AtomicBool::new(false), AtomicU64::new(0));
        let shared = Arc::new(WatchState { sender, reporting, list_revision });
        let (weak, uri) = (Arc::downgrade(&shared), uri.to_owned());
        let thread = thread::Builder::new().name("libvirt-watch".to_owned());
        // Without the thread there are no events, and domains are listed in each cycle.
        if let Err(error) = thread.spawn(move || watch(&uri, clock, &weak)) {
            events::event_stream_lost(&error);
        }
        Self { shared }
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<(DomainEvent, Moment)> {
        self.shared.sender.subscribe()
    }

    /// The list revision; `None` while events are not received.
    pub(super) fn list_revision(&self) -> Option<u64> {
        // Loaded first: a watch that starts in between increments it.
        let list_revision = self.shared.list_revision.load(SeqCst);
        self.shared.reporting.load(SeqCst).then_some(list_revision)
    }
}

/// Stops reporting when the watch thread ends, panics included: domains are listed in each cycle
/// from then on.
struct WatchEnd<'a>(&'a Weak<WatchState>);

impl Drop for WatchEnd<'_> {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            shared.reporting.store(false, SeqCst);
            events::event_stream_lost(&std::io::Error::other("the event thread has ended"));
        }
    }
}

fn watch(uri: &str, clock: Clock, shared: &Weak<WatchState>) {
    let _end = WatchEnd(shared);
    let mut failed = false;
    loop {
        let report = {
            let shared = Weak::clone(shared);
            move |event: DomainEvent| {
                let Some(shared) = shared.upgrade() else { return };
                if event.what != LifecycleEvent::Changed {
                    shared.list_revision.fetch_add(1, SeqCst);
                }
                // Without subscribers there is nobody to send to.
                drop(shared.sender.send((event, clock.now())));
            }
        };
        match EventConnection::open(uri, report) {
            Ok(watch) => {
                let Some(alive) = shared.upgrade() else { return };
                // Earlier events were not received.
                alive.list_revision.fetch_add(1, SeqCst);
                alive.reporting.store(true, SeqCst);
                drop(alive);
                if failed {
                    events::event_stream_restored();
                }
                failed = false;
                while watch.is_alive() && shared.strong_count() > 0 {
                    thread::sleep(CHECK_INTERVAL);
                }
            }
            Err(error) => {
                if !failed {
                    events::event_stream_lost(&error);
                }
                failed = true;
            }
        }
        let Some(alive) = shared.upgrade() else { return };
        alive.reporting.store(false, SeqCst);
        drop(alive);
        thread::sleep(CHECK_INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Once, a panic here left a stale list of domains in use until the agent was restarted.
    #[test]
    fn list_revision_is_none_after_the_watch_thread_panics() {
        let (sender, _) = broadcast::channel(EVENT_BUFFER);
        let shared = Arc::new(WatchState {
            sender,
            reporting: AtomicBool::new(true),
            list_revision: AtomicU64::new(7),
        });
        let watcher = EventWatcher { shared: Arc::clone(&shared) };
        assert_eq!(watcher.list_revision(), Some(7));
        let weak = Arc::downgrade(&shared);
        let panicking = thread::spawn(move || {
            let _end = WatchEnd(&weak);
            panic!("on purpose");
        });
        assert!(panicking.join().is_err());
        assert_eq!(watcher.list_revision(), None);
    }
}
