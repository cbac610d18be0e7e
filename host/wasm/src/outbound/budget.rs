//! Limits the open sockets and HTTP connections of each publisher and of all publishers together.
//!
//! A [`SocketPermit`] is held as long as its socket and released on drop. Refusals are counted, and
//! logged once per publisher and bound.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Resource, getrlimit};

use crate::stats::ComponentCounters;
use nephometer_model::Bound;
use nephometer_telemetry::events;

/// File descriptors reserved for the agent: database, brokers, files, libvirt, control socket,
/// lookups. At most half of the limit.
const RESERVED: u64 = 256;

/// Counts and logs what was refused to one publisher.
#[derive(Debug)]
pub(super) struct Refusals {
    component: Arc<str>,
    counters: Arc<ComponentCounters>,
    logged: Mutex<Vec<Bound>>,
}

impl Refusals {
    pub(super) fn new(component: &Arc<str>, counters: &Arc<ComponentCounters>) -> Self {
        let (component, counters) = (Arc::clone(component), Arc::clone(counters));
        Self { component, counters, logged: Mutex::default() }
    }

    /// Counts a refusal, and logs the first one per bound. `max` is the bound on this host.
    fn refuse(&self, bound: Bound, max: usize) {
        self.counters.count_refusal();
        {
            let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
            if logged.contains(&bound) {
                return;
            }
            logged.push(bound);
        }
        let row = bound.row();
        events::outbound::limit_reached(&self.component, row.name, row.what, max, row.remedy);
    }

    /// Whether the amount is within a fixed bound. Counts a refusal if not.
    pub(super) fn allow(&self, bound: Bound, amount: usize) -> bool {
        let within = bound.check(amount).is_ok();
        if !within {
            self.refuse(bound, bound.size());
        }
        within
    }
}

/// A number of things that may be open at once.
#[derive(Debug)]
struct Quota {
    max: AtomicUsize,
    open: AtomicUsize,
}

impl Quota {
    fn new(max: usize) -> Self {
        Self { max: AtomicUsize::new(max), open: AtomicUsize::new(0) }
    }

    fn max(&self) -> usize {
        self.max.load(Relaxed)
    }

    fn try_acquire(&self) -> bool {
        let acquire = |open: usize| (open < self.max()).then_some(open + 1);
        self.open.fetch_update(Relaxed, Relaxed, acquire).is_ok()
    }

    fn release(&self) {
        self.open.fetch_sub(1, Relaxed);
    }
}

/// Sockets and connections of all publishers of a host.
#[derive(Debug)]
pub(super) struct SharedSockets {
    setting: AtomicUsize,
    quota: Quota,
}

impl SharedSockets {
    /// Allows as many as configured, if there are enough file descriptors.
    pub(super) fn new(setting: usize) -> Self {
        Self { setting: AtomicUsize::new(setting), quota: Quota::new(effective_limit(setting)) }
    }

    pub(super) fn set(&self, setting: usize) {
        if self.setting.swap(setting, Relaxed) != setting {
            self.quota.max.store(effective_limit(setting), Relaxed);
        }
    }
}

/// The configured number of sockets, lowered to the available file descriptors.
fn effective_limit(setting: usize) -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    let max = setting.min(available_descriptors(limit));
    if max < setting {
        events::outbound::sockets_lowered(setting, max, limit);
    }
    max
}

/// File descriptors that are not reserved for the agent.
fn available_descriptors(limit: Option<u64>) -> usize {
    let available = limit.map_or(u64::MAX, |limit| limit - RESERVED.min(limit / 2));
    usize::try_from(available).unwrap_or(usize::MAX)
}

/// Sockets and connections of one publisher, over all its instances.
#[derive(Debug)]
pub(super) struct Sockets {
    own: Quota,
    all: Arc<SharedSockets>,
    refusals: Arc<Refusals>,
}

impl Sockets {
    pub(super) fn new(all: &Arc<SharedSockets>, refusals: &Arc<Refusals>) -> Arc<Self> {
        let (all, refusals) = (Arc::clone(all), Arc::clone(refusals));
        Arc::new(Self { own: Quota::new(Bound::Sockets.size()), all, refusals })
    }

    /// A permit for one more socket, if within the limits.
    pub(super) fn try_acquire(self: &Arc<Self>) -> Option<SocketPermit> {
        if !self.own.try_acquire() {
            self.refusals.refuse(Bound::Sockets, self.own.max());
            return None;
        }
        if !self.all.quota.try_acquire() {
            self.own.release();
            self.refusals.refuse(Bound::TotalSockets, self.all.quota.max());
            return None;
        }
        Some(SocketPermit(Arc::clone(self)))
    }
}

/// A permit for one socket or connection.
#[derive(Debug)]
pub(super) struct SocketPermit(Arc<Sockets>);

impl Drop for SocketPermit {
    fn drop(&mut self) {
        self.0.own.release();
        self.0.all.quota.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    fn guest(all: &Arc<SharedSockets>) -> (Arc<Sockets>, Arc<ComponentCounters>) {
        let counters = Arc::new(ComponentCounters::new(Digest::from([0; 32])));
        let refusals = Arc::new(Refusals::new(&Arc::from("greedy"), &counters));
        (Sockets::new(all, &refusals), counters)
    }

    #[test]
    fn sockets_of_one_publisher_are_bounded_and_released_on_drop() {
        let (one, counters) = guest(&Arc::new(SharedSockets::new(1_000)));
        let mut permits: Vec<SocketPermit> =
            (0..Bound::Sockets.size()).map_while(|_| one.try_acquire()).collect();
        assert_eq!(permits.len(), Bound::Sockets.size());
        assert_eq!(counters.stats().refused, 0);
        assert!(one.try_acquire().is_none());
        assert_eq!(counters.stats().refused, 1);
        permits.pop();
        assert!(one.try_acquire().is_some());
    }

    #[test]
    fn sockets_of_all_publishers_are_bounded() {
        let all = Arc::new(SharedSockets::new(3));
        let ((one, _), (other, counters)) = (guest(&all), guest(&all));
        let permits: Vec<SocketPermit> = (0..2).map_while(|_| one.try_acquire()).collect();
        let last = other.try_acquire();
        assert!(last.is_some());
        assert!(other.try_acquire().is_none() && one.try_acquire().is_none());
        assert_eq!(counters.stats().refused, 1);
        drop(permits);
        // A refusal by the total does not count towards the publisher.
        assert_eq!(other.own.open.load(Relaxed), 1);
        assert!(other.try_acquire().is_some());
    }

    #[test]
    fn lowered_total_leaves_open_sockets_open() {
        let all = Arc::new(SharedSockets::new(2));
        let (one, _) = guest(&all);
        let (first, second) = (one.try_acquire().unwrap(), one.try_acquire().unwrap());
        all.set(1);
        drop(first);
        assert!(one.try_acquire().is_none(), "one socket is still open");
        drop(second);
        assert!(one.try_acquire().is_some());
    }

    #[test]
    fn descriptors_are_reserved_for_the_agent() {
        assert_eq!(available_descriptors(Some(65_536)), 65_536 - 256);
        assert_eq!(available_descriptors(Some(1_024)), 768);
        assert_eq!(available_descriptors(Some(256)), 128);
        assert_eq!(available_descriptors(Some(0)), 0);
        assert_eq!(available_descriptors(None), usize::MAX);
    }
}
