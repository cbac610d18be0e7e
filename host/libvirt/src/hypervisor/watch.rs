//! What happens to domains, for as long as libvirtd can be reached, and again when it can be again.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use tokio::sync::broadcast;

use crate::libvirt::Watch;
use crate::schedule::Clock;
use nephometer_model::{DomainEvent, LifecycleEvent, Moment};
use nephometer_telemetry::events::hypervisor as events;

/// How often it is looked whether libvirtd is still there, or there again.
const LOOK: Duration = Duration::from_secs(1);
/// Events that a poll task may be behind; more make it look at everything anew.
const BEHIND: usize = 256;

/// Reports what happens.
#[derive(Debug)]
pub(super) struct Watcher {
    shared: Arc<WatchState>,
}

#[derive(Debug)]
struct WatchState {
    sender: broadcast::Sender<(DomainEvent, Moment)>,
    /// Whether everything that happens is reported.
    reporting: AtomicBool,
    /// How often domains may have come or gone. Each poll task compares it by itself: one that took note
    /// for all left the others without a domain for a whole interval.
    moves: AtomicU64,
}

impl Watcher {
    /// Begins to watch, in a thread of its own, which ends with this.
    pub(super) fn start(uri: &str, clock: Clock) -> Self {
        let (sender, _) = broadcast::channel(BEHIND);
        let (reporting, moves) = (AtomicBool::new(false), AtomicU64::new(0));
        let shared = Arc::new(WatchState { sender, reporting, moves });
        let (weak, uri) = (Arc::downgrade(&shared), uri.to_owned());
        let thread = thread::Builder::new().name("libvirt-watch".to_owned());
        // Without it nothing is reported, and domains are listed at each tick.
        if let Err(error) = thread.spawn(move || watch(&uri, clock, &weak)) {
            events::events_lost(&error);
        }
        Self { shared }
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<(DomainEvent, Moment)> {
        self.shared.sender.subscribe()
    }

    /// How often domains may have come or gone, while everything that happens is reported.
    pub(super) fn moves(&self) -> Option<u64> {
        // Read first: a watch that begins in between counts one more.
        let moves = self.shared.moves.load(SeqCst);
        self.shared.reporting.load(SeqCst).then_some(moves)
    }
}

/// However the watch ends, domains are listed at each tick from then on.
struct Ending<'a>(&'a Weak<WatchState>);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            shared.reporting.store(false, SeqCst);
            events::events_lost(&std::io::Error::other("the thread that waits for them has ended"));
        }
    }
}

fn watch(uri: &str, clock: Clock, shared: &Weak<WatchState>) {
    let _ending = Ending(shared);
    let mut failed = false;
    loop {
        let report = {
            let shared = Weak::clone(shared);
            move |event: DomainEvent| {
                let Some(shared) = shared.upgrade() else { return };
                if event.what != LifecycleEvent::Changed {
                    shared.moves.fetch_add(1, SeqCst);
                }
                // Nobody listens yet, or not any more.
                drop(shared.sender.send((event, clock.now())));
            }
        };
        match Watch::open(uri, report) {
            Ok(watch) => {
                let Some(alive) = shared.upgrade() else { return };
                // Whatever happened before was not reported.
                alive.moves.fetch_add(1, SeqCst);
                alive.reporting.store(true, SeqCst);
                drop(alive);
                if failed {
                    events::events_back();
                }
                failed = false;
                while watch.is_alive() && shared.strong_count() > 0 {
                    thread::sleep(LOOK);
                }
            }
            Err(error) => {
                if !failed {
                    events::events_lost(&error);
                }
                failed = true;
            }
        }
        let Some(alive) = shared.upgrade() else { return };
        alive.reporting.store(false, SeqCst);
        drop(alive);
        thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Domains were taken for known for as long as the agent ran.
    #[test]
    fn a_watch_that_ends_however_it_does_reports_nothing_any_more() {
        let (sender, _) = broadcast::channel(BEHIND);
        let shared = Arc::new(WatchState {
            sender,
            reporting: AtomicBool::new(true),
            moves: AtomicU64::new(7),
        });
        let watcher = Watcher { shared: Arc::clone(&shared) };
        assert_eq!(watcher.moves(), Some(7));
        let weak = Arc::downgrade(&shared);
        let panicking = thread::spawn(move || {
            let _ending = Ending(&weak);
            panic!("on purpose");
        });
        assert!(panicking.join().is_err());
        assert_eq!(watcher.moves(), None);
    }
}
