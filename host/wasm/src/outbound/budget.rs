//! How much publishers may have open at once: sockets and HTTP connections, each publisher and all
//! together.
//!
//! A [`Slot`] lives as long as what it was taken for, and comes back when that is dropped. What is
//! refused is counted, and logged once for each publisher and bound.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Resource, getrlimit};

use crate::stats::ComponentCount;
use nephometer_model::Bound;
use nephometer_telemetry::events;

/// File descriptors that stay with the agent itself: its database, brokers, files, libvirt, the
/// control socket, look-ups. Where there are few, half of them do.
const RESERVE: u64 = 256;

/// What was refused to one publisher.
#[derive(Debug)]
pub(super) struct Refusals {
    component: Arc<str>,
    count: Arc<ComponentCount>,
    logged: Mutex<Vec<Bound>>,
}

impl Refusals {
    pub(super) fn new(component: &Arc<str>, count: &Arc<ComponentCount>) -> Self {
        let (component, count) = (Arc::clone(component), Arc::clone(count));
        Self { component, count, logged: Mutex::default() }
    }

    /// Counts a refusal, and logs it if it is the first one of this bound. `most` is what the bound
    /// is on this host.
    fn refuse(&self, bound: Bound, most: usize) {
        self.count.refused();
        {
            let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
            if logged.contains(&bound) {
                return;
            }
            logged.push(bound);
        }
        let row = bound.row();
        events::outbound::limit_reached(&self.component, row.name, row.what, most, row.remedy);
    }

    /// Whether the amount is within a bound that is the same everywhere.
    pub(super) fn allow(&self, bound: Bound, amount: usize) -> bool {
        let within = bound.check(amount).is_ok();
        if !within {
            self.refuse(bound, bound.size());
        }
        within
    }
}

/// Something that can be open so many times at once.
#[derive(Debug)]
struct Quota {
    most: AtomicUsize,
    open: AtomicUsize,
}

impl Quota {
    fn new(most: usize) -> Self {
        Self { most: AtomicUsize::new(most), open: AtomicUsize::new(0) }
    }

    fn most(&self) -> usize {
        self.most.load(Relaxed)
    }

    fn take(&self) -> bool {
        let more = |open: usize| (open < self.most()).then_some(open + 1);
        self.open.fetch_update(Relaxed, Relaxed, more).is_ok()
    }

    fn give_back(&self) {
        self.open.fetch_sub(1, Relaxed);
    }
}

/// Sockets and connections of all publishers of a host.
#[derive(Debug)]
pub(super) struct AllSockets {
    setting: AtomicUsize,
    room: Quota,
}

impl AllSockets {
    /// As many as the setting allows, and as file descriptors can be spared.
    pub(super) fn new(setting: usize) -> Self {
        Self { setting: AtomicUsize::new(setting), room: Quota::new(possible(setting)) }
    }

    pub(super) fn set(&self, setting: usize) {
        if self.setting.swap(setting, Relaxed) != setting {
            self.room.most.store(possible(setting), Relaxed);
        }
    }
}

fn possible(setting: usize) -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    let most = setting.min(spare(limit));
    if most < setting {
        events::outbound::sockets_lowered(setting, most, limit);
    }
    most
}

/// File descriptors that need not stay with the agent; no limit is more than anybody asks for.
fn spare(limit: Option<u64>) -> usize {
    let spare = limit.map_or(u64::MAX, |limit| limit - RESERVE.min(limit / 2));
    usize::try_from(spare).unwrap_or(usize::MAX)
}

/// Sockets and connections of one publisher, over all its instances.
#[derive(Debug)]
pub(super) struct Sockets {
    own: Quota,
    all: Arc<AllSockets>,
    refusals: Arc<Refusals>,
}

impl Sockets {
    pub(super) fn new(all: &Arc<AllSockets>, refusals: &Arc<Refusals>) -> Arc<Self> {
        let (all, refusals) = (Arc::clone(all), Arc::clone(refusals));
        Arc::new(Self { own: Quota::new(Bound::Sockets.size()), all, refusals })
    }

    /// The right to one more, if there is one.
    pub(super) fn take(self: &Arc<Self>) -> Option<Slot> {
        if !self.own.take() {
            self.refusals.refuse(Bound::Sockets, self.own.most());
            return None;
        }
        if !self.all.room.take() {
            self.own.give_back();
            self.refusals.refuse(Bound::TotalSockets, self.all.room.most());
            return None;
        }
        Some(Slot(Arc::clone(self)))
    }
}

/// The right to one socket or connection.
#[derive(Debug)]
pub(super) struct Slot(Arc<Sockets>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.own.give_back();
        self.0.all.room.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    fn guest(all: &Arc<AllSockets>) -> (Arc<Sockets>, Arc<ComponentCount>) {
        let count = Arc::new(ComponentCount::new(Digest::from([0; 32])));
        let refusals = Arc::new(Refusals::new(&Arc::from("greedy"), &count));
        (Sockets::new(all, &refusals), count)
    }

    #[test]
    fn a_guest_has_so_many_and_gets_them_back() {
        let (one, count) = guest(&Arc::new(AllSockets::new(1_000)));
        let mut slots: Vec<Slot> = (0..Bound::Sockets.size()).map_while(|_| one.take()).collect();
        assert_eq!(slots.len(), Bound::Sockets.size());
        assert_eq!(count.numbers().refused, 0);
        assert!(one.take().is_none());
        assert_eq!(count.numbers().refused, 1);
        slots.pop();
        assert!(one.take().is_some());
    }

    #[test]
    fn all_guests_together_have_so_many() {
        let all = Arc::new(AllSockets::new(3));
        let ((one, _), (other, count)) = (guest(&all), guest(&all));
        let slots: Vec<Slot> = (0..2).map_while(|_| one.take()).collect();
        let last = other.take();
        assert!(last.is_some());
        assert!(other.take().is_none() && one.take().is_none());
        assert_eq!(count.numbers().refused, 1);
        drop(slots);
        // What was refused by the total does not count against the guest.
        assert_eq!(other.own.open.load(Relaxed), 1);
        assert!(other.take().is_some());
    }

    #[test]
    fn a_total_that_is_lowered_closes_nothing() {
        let all = Arc::new(AllSockets::new(2));
        let (one, _) = guest(&all);
        let (first, second) = (one.take().unwrap(), one.take().unwrap());
        all.set(1);
        drop(first);
        assert!(one.take().is_none(), "one is open, and one is what there may be");
        drop(second);
        assert!(one.take().is_some());
    }

    #[test]
    fn the_agent_keeps_descriptors_for_itself() {
        assert_eq!(spare(Some(65_536)), 65_536 - 256);
        assert_eq!(spare(Some(1_024)), 768);
        assert_eq!(spare(Some(256)), 128);
        assert_eq!(spare(Some(0)), 0);
        assert_eq!(spare(None), usize::MAX);
    }
}
