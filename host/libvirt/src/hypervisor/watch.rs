//! Watches libvirt's events of domains, and reconnects whenever libvirtd is back.
//!
//! Owns the list revision, which shows whether a cached list of domains is still valid. Without
//! events domains are listed in each cycle.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use tokio::sync::broadcast;
use uuid::Uuid;

use crate::libvirt::{DomainNotice, EventConnection};
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
    /// Domains that migrate to another host, as far as events show it.
    migrating: Mutex<HashSet<Uuid>>,
}

impl WatchState {
    fn migrating(&self) -> MutexGuard<'_, HashSet<Uuid>> {
        self.migrating.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records what libvirtd reports.
    fn notice(&self, uuid: Uuid, notice: DomainNotice, now: Moment) {
        let what = match notice {
            DomainNotice::Event(what) => what,
            DomainNotice::Migrating => {
                self.migrating().insert(uuid);
                return;
            }
            DomainNotice::JobEnded => {
                self.migrating().remove(&uuid);
                return;
            }
        };
        if matches!(what, LifecycleEvent::Stopped(_)) {
            self.migrating().remove(&uuid);
        }
        if what != LifecycleEvent::Changed {
            self.list_revision.fetch_add(1, SeqCst);
        }
        // Without subscribers there is nobody to send to.
        drop(self.sender.send((DomainEvent { uuid, what }, now)));
    }
}

impl EventWatcher {
    /// Starts watching on a thread of its own, which ends when this is dropped.
    pub(super) fn start(uri: &str, clock: Clock) -> Self {
        let (sender, _) = broadcast::channel(EVENT_BUFFER);
        let (reporting, list_revision) = (AtomicBool::new(false), AtomicU64::new(0));
        let migrating = Mutex::default();
        let shared = Arc::new(WatchState { sender, reporting, list_revision, migrating });
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

    /// Whether an event has shown that a domain migrates, and none that this has ended. A migration
    /// that began while no events were received is seen at its next iteration.
    pub(super) fn migrates(&self, uuid: Uuid) -> bool {
        self.shared.migrating().contains(&uuid)
    }

    /// Records that a domain does not migrate any more. A failed migration has no event.
    pub(super) fn migration_ended(&self, uuid: Uuid) {
        self.shared.migrating().remove(&uuid);
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
            move |uuid: Uuid, notice: DomainNotice| {
                if let Some(shared) = shared.upgrade() {
                    shared.notice(uuid, notice, clock.now());
                }
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
            migrating: Mutex::default(),
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

    #[test]
    fn a_migration_lasts_from_an_iteration_to_the_end_of_its_job() {
        let (sender, _) = broadcast::channel(EVENT_BUFFER);
        let shared = Arc::new(WatchState {
            sender,
            reporting: AtomicBool::new(true),
            list_revision: AtomicU64::new(0),
            migrating: Mutex::default(),
        });
        let watcher = EventWatcher { shared };
        let (uuid, now) = (Uuid::from_u128(1), Clock::start().now());
        let stopped = LifecycleEvent::Stopped(nephometer_model::StopReason::Migrated);
        for end in [DomainNotice::JobEnded, DomainNotice::Event(stopped)] {
            assert!(!watcher.migrates(uuid));
            watcher.shared.notice(uuid, DomainNotice::Migrating, now);
            watcher.shared.notice(uuid, DomainNotice::Event(LifecycleEvent::Changed), now);
            assert!(watcher.migrates(uuid) && !watcher.migrates(Uuid::from_u128(2)));
            watcher.shared.notice(uuid, end, now);
        }
        assert!(!watcher.migrates(uuid));
        watcher.shared.notice(uuid, DomainNotice::Migrating, now);
        watcher.migration_ended(uuid);
        assert!(!watcher.migrates(uuid));
        // Neither changes the list of domains.
        assert_eq!(watcher.list_revision(), Some(1));
    }
}
