//! A bounded queue with one reader, in memory: the basis of a spool.
//!
//! Entries that the reader has leased stay in the queue until the lease ends, and are never evicted.
//! No lock guard outlives a function here.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// What happens when an entry does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// The oldest entries are dropped and counted.
    #[default]
    DropOldest,
    /// The new entry is dropped and counted.
    DropNewest,
    /// The writer waits.
    Wait,
}

/// The limits of a queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Sum of the weights of all entries.
    pub(super) weight: u64,
    /// Number of entries.
    pub(super) count: usize,
}

/// The limit that an entry was dropped for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LimitExceeded {
    Weight,
    Count,
}

#[derive(Debug)]
pub(super) struct Queue<T> {
    count: usize,
    /// Changes with the number of spools.
    weight: AtomicU64,
    state: Mutex<QueueState<T>>,
    /// Wakes the reader: an entry was appended, or the queue was closed.
    filled: Notify,
    /// Wakes waiting writers: an entry was removed.
    freed: Notify,
    /// Wakes those that wait for the queue to be closed.
    closing: Notify,
}

#[derive(Debug)]
struct QueueEntry<T> {
    item: T,
    weight: u64,
    /// Entries of a higher rank are evicted later.
    rank: u8,
}

#[derive(Debug)]
struct QueueState<T> {
    entries: VecDeque<QueueEntry<T>>,
    weight: u64,
    /// Number of leased entries, at the front.
    leased: usize,
    /// Number of hidden entries, at the back.
    hidden: usize,
    closed: bool,
}

impl<T: Clone> Queue<T> {
    pub(super) fn new(limits: Limits) -> Self {
        let state =
            QueueState { entries: VecDeque::new(), weight: 0, leased: 0, hidden: 0, closed: false };
        Self {
            count: limits.count,
            weight: AtomicU64::new(limits.weight),
            state: Mutex::new(state),
            filled: Notify::new(),
            freed: Notify::new(),
            closing: Notify::new(),
        }
    }

    /// Changes the weight limit. Entries beyond it stay until the next one makes room.
    pub(super) fn set_weight_limit(&self, weight: u64) {
        self.weight.store(weight, Relaxed);
    }

    fn limits(&self) -> Limits {
        Limits { weight: self.weight.load(Relaxed), count: self.count }
    }

    fn lock(&self) -> MutexGuard<'_, QueueState<T>> {
        // Nothing between lock and unlock can panic half-way, so the state is consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Evicts entries to make room for one that is about to be appended, and returns them. The second
    /// value is the limit that the new entry itself exceeds, if any. Among entries of equal rank the
    /// oldest are evicted, or the newest if `newest` is set.
    pub(super) fn make_room(
        &self,
        weight: u64,
        rank: u8,
        newest: bool,
    ) -> (Vec<(T, LimitExceeded)>, Option<LimitExceeded>) {
        let limits = self.limits();
        let mut state = self.lock();
        let mut evicted = Vec::new();
        if weight > limits.weight {
            return (evicted, Some(LimitExceeded::Weight));
        }
        while let Some(limit) = state.exceeded(weight, limits) {
            let visible = state.visible();
            let lowest = state.entries.range(state.leased..visible).map(|entry| entry.rank).min();
            let Some(lowest) = lowest else { return (evicted, Some(limit)) };
            if rank < lowest || (rank == lowest && newest) {
                return (evicted, Some(limit));
            }
            let mut candidates = state.leased..visible;
            let is_lowest = |index: &usize| state.entries[*index].rank == lowest;
            let index =
                if newest { candidates.rfind(is_lowest) } else { candidates.find(is_lowest) };
            let Some(entry) = index.and_then(|index| state.entries.remove(index)) else { break };
            state.weight -= entry.weight;
            evicted.push((entry.item, limit));
        }
        (evicted, None)
    }

    /// Evicts the oldest entries for as long as `evict` returns true, but none that is leased.
    pub(super) fn evict_while(&self, evict: impl Fn(&T) -> bool) -> Vec<T> {
        let mut state = self.lock();
        let mut evicted = Vec::new();
        while state.leased < state.visible()
            && state.entries.get(state.leased).is_some_and(|entry| evict(&entry.item))
        {
            let index = state.leased;
            let Some(entry) = state.entries.remove(index) else { break };
            state.weight -= entry.weight;
            evicted.push(entry.item);
        }
        evicted
    }

    /// Appends an entry.
    pub(super) fn append(&self, item: T, weight: u64, rank: u8) {
        self.lock().append(item, weight, rank);
        self.filled.notify_one();
    }

    /// Appends an entry that is neither leased nor evicted until [`Self::reveal`].
    pub(super) fn append_hidden(&self, item: T, weight: u64, rank: u8) {
        let mut state = self.lock();
        state.append(item, weight, rank);
        state.hidden += 1;
    }

    /// Reveals the hidden entries after a last change to each.
    pub(super) fn reveal(&self, change: impl FnMut(&mut T)) {
        let mut state = self.lock();
        let visible = state.visible();
        state.entries.range_mut(visible..).map(|entry| &mut entry.item).for_each(change);
        state.hidden = 0;
        drop(state);
        self.filled.notify_one();
    }

    /// Removes hidden entries for which `keep` returns false, and returns them in order.
    pub(super) fn retain_hidden(&self, mut keep: impl FnMut(&mut T) -> bool) -> Vec<T> {
        let mut state = self.lock();
        let visible = state.visible();
        let hidden: Vec<QueueEntry<T>> = state.entries.drain(visible..).collect();
        let mut removed = Vec::new();
        for mut entry in hidden {
            if keep(&mut entry.item) {
                state.entries.push_back(entry);
            } else {
                state.weight -= entry.weight;
                removed.push(entry.item);
            }
        }
        state.hidden = state.entries.len() - visible;
        removed
    }

    /// Waits until entries of this weight and number fit, or the queue is empty.
    pub(super) async fn wait_for_room(&self, weight: u64, count: usize) {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // Enabled before the check, so that a notification right after it is not missed.
            freed.as_mut().enable();
            if self.fits(weight, count) || self.len() == 0 {
                return;
            }
            freed.await;
        }
    }

    /// Whether entries of this weight and number fit without an eviction.
    pub(super) fn fits(&self, weight: u64, count: usize) -> bool {
        let limits = self.limits();
        let state = self.lock();
        state.entries.len().saturating_add(count) <= limits.count
            && state.weight.saturating_add(weight) <= limits.weight
    }

    /// Visits entries from the newest on, for as long as `visit` returns true.
    pub(super) fn visit_newest(&self, mut visit: impl FnMut(&mut T) -> bool) {
        let mut state = self.lock();
        for entry in state.entries.iter_mut().rev() {
            if !visit(&mut entry.item) {
                return;
            }
        }
    }

    /// The first value that `find` returns for an entry, from the oldest on.
    pub(super) fn find_map<R>(&self, find: impl FnMut(&T) -> Option<R>) -> Option<R> {
        self.lock().entries.iter().map(|entry| &entry.item).find_map(find)
    }

    /// Waits until there is an entry to lease. False if the queue is closed and empty, or when
    /// `cancelled` returns true, which is checked after each [`Self::wake`].
    pub(super) async fn ready(&self, cancelled: impl Fn() -> bool) -> bool {
        loop {
            {
                if cancelled() {
                    return false;
                }
                let state = self.lock();
                if state.visible() > 0 {
                    return true;
                }
                if state.closed {
                    return false;
                }
            }
            self.filled.notified().await;
        }
    }

    /// Leases the oldest `count` entries, or as many as there are, of at most `weight` together; the
    /// first one whatever its weight. Ends the lease before it.
    pub(super) fn lease(&self, count: usize, weight: u64) -> Vec<T> {
        let mut state = self.lock();
        let (most, mut sum) = (count.min(state.visible()), 0_u64);
        let fits = |(index, entry): &(usize, &QueueEntry<T>)| {
            sum = sum.saturating_add(entry.weight);
            *index == 0 || sum <= weight
        };
        let leased = state.entries.iter().take(most).enumerate().take_while(fits);
        let items: Vec<T> = leased.map(|(_, entry)| entry.item.clone()).collect();
        state.leased = items.len();
        items
    }

    /// Ends the lease. Leased entries for which `keep` returns false are removed; it gets each with
    /// its index in the lease, the last one first.
    pub(super) fn end_lease(&self, mut keep: impl FnMut(usize, &T) -> bool) {
        let mut state = self.lock();
        let count = state.leased;
        let leased: Vec<QueueEntry<T>> = state.entries.drain(..count).collect();
        state.leased = 0;
        for (index, entry) in leased.into_iter().enumerate().rev() {
            if keep(index, &entry.item) {
                state.entries.push_front(entry);
            } else {
                state.weight -= entry.weight;
            }
        }
        drop(state);
        self.freed.notify_waiters();
    }

    /// The sum of all weights.
    #[cfg(test)]
    pub(super) fn weight(&self) -> u64 {
        self.lock().weight
    }

    /// Removes and returns all entries.
    pub(super) fn clear(&self) -> Vec<T> {
        let mut state = self.lock();
        (state.leased, state.hidden, state.weight) = (0, 0, 0);
        let items = state.entries.drain(..).map(|entry| entry.item).collect();
        drop(state);
        self.freed.notify_waiters();
        items
    }

    /// Closes the queue: the reader ends once it is empty.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_one();
        self.closing.notify_waiters();
    }

    /// Opens a closed queue again.
    pub(super) fn reopen(&self) {
        self.lock().closed = false;
    }

    /// Has waiting readers check again whether they are cancelled.
    pub(super) fn wake(&self) {
        self.filled.notify_one();
        self.closing.notify_waiters();
    }

    /// Waits until the queue is closed or `cancelled` returns true.
    pub(super) async fn closed(&self, cancelled: impl Fn() -> bool) {
        loop {
            let closing = self.closing.notified();
            tokio::pin!(closing);
            closing.as_mut().enable();
            if cancelled() || self.is_closed() {
                return;
            }
            closing.await;
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    pub(super) fn len(&self) -> usize {
        self.lock().entries.len()
    }
}

impl<T> QueueState<T> {
    /// Number of entries that are not hidden.
    fn visible(&self) -> usize {
        self.entries.len() - self.hidden
    }

    fn append(&mut self, item: T, weight: u64, rank: u8) {
        self.entries.push_back(QueueEntry { item, weight, rank });
        self.weight += weight;
    }

    /// The limit that one more entry of this weight exceeds.
    fn exceeded(&self, weight: u64, limits: Limits) -> Option<LimitExceeded> {
        if self.entries.len() >= limits.count {
            Some(LimitExceeded::Count)
        } else if self.weight.saturating_add(weight) > limits.weight {
            Some(LimitExceeded::Weight)
        } else {
            None
        }
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
