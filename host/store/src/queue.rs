//! A bounded queue with one reader: what a spool is made of.
//!
//! What the reader has been lent stays in the queue until it says so, and is never dropped to make
//! room. No guard outlives a function here.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// What happens when something does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// The oldest entries make room and are counted as dropped.
    #[default]
    DropOldest,
    /// What is new is dropped and counted.
    DropNewest,
    /// The writer waits.
    Wait,
}

/// How much a queue holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Sum of the weights of all entries.
    pub(super) weight: u64,
    /// Number of entries.
    pub(super) count: usize,
}

/// Which limit an entry was dropped for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LimitExceeded {
    Weight,
    Count,
}

#[derive(Debug)]
pub(super) struct Queue<T> {
    count: usize,
    /// Changes with what else there is.
    weight: AtomicU64,
    state: Mutex<QueueState<T>>,
    /// For the reader: there is something new, or nothing will come any more.
    filled: Notify,
    /// For waiting writers: something has left.
    freed: Notify,
    /// For whoever waits for the end.
    closing: Notify,
}

/// One entry.
#[derive(Debug)]
struct Queued<T> {
    item: T,
    weight: u64,
    /// Those of a higher rank make room later.
    rank: u8,
}

#[derive(Debug)]
struct QueueState<T> {
    entries: VecDeque<Queued<T>>,
    weight: u64,
    /// How many entries at the front the reader has been lent.
    leased: usize,
    /// How many entries at the back nobody sees yet.
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

    /// From now on it holds so much. What is there stays until the next entry makes room.
    pub(super) fn limit(&self, weight: u64) {
        self.weight.store(weight, Relaxed);
    }

    fn limits(&self) -> Limits {
        Limits { weight: self.weight.load(Relaxed), count: self.count }
    }

    fn lock(&self) -> MutexGuard<'_, QueueState<T>> {
        // Nothing between lock and unlock can panic half-way, so that the state is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for an entry that is about to be appended, and gives back what had to leave for it.
    /// The second value says which limit keeps the entry itself out, if one does. Of equal rank the
    /// oldest leave, or, with `newest`, what is new.
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
        while let Some(hit) = state.over(weight, limits) {
            let seen = state.seen();
            let lowest = state.entries.range(state.leased..seen).map(|entry| entry.rank).min();
            let Some(lowest) = lowest else { return (evicted, Some(hit)) };
            if rank < lowest || (rank == lowest && newest) {
                return (evicted, Some(hit));
            }
            let mut places = state.leased..seen;
            let lowest_at = |place: &usize| state.entries[*place].rank == lowest;
            let place = if newest { places.rfind(lowest_at) } else { places.find(lowest_at) };
            let Some(entry) = place.and_then(|place| state.entries.remove(place)) else { break };
            state.weight -= entry.weight;
            evicted.push((entry.item, hit));
        }
        (evicted, None)
    }

    /// Takes entries at the front away for as long as they are unwanted, but none that is lent.
    pub(super) fn evict_while(&self, unwanted: impl Fn(&T) -> bool) -> Vec<T> {
        let mut state = self.lock();
        let mut evicted = Vec::new();
        while state.leased < state.seen()
            && state.entries.get(state.leased).is_some_and(|entry| unwanted(&entry.item))
        {
            let place = state.leased;
            let Some(entry) = state.entries.remove(place) else { break };
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

    /// Appends an entry that nobody sees, and that makes room for nothing, until [`Self::reveal`].
    pub(super) fn append_hidden(&self, item: T, weight: u64, rank: u8) {
        let mut state = self.lock();
        state.append(item, weight, rank);
        state.hidden += 1;
    }

    /// Shows hidden entries after a last change.
    pub(super) fn reveal(&self, change: impl FnMut(&mut T)) {
        let mut state = self.lock();
        let seen = state.seen();
        state.entries.range_mut(seen..).map(|entry| &mut entry.item).for_each(change);
        state.hidden = 0;
        drop(state);
        self.filled.notify_one();
    }

    /// Takes those of the hidden entries away that `keep` refuses, in their order.
    pub(super) fn retain_hidden(&self, mut keep: impl FnMut(&mut T) -> bool) -> Vec<T> {
        let mut state = self.lock();
        let seen = state.seen();
        let hidden: Vec<Queued<T>> = state.entries.drain(seen..).collect();
        let mut refused = Vec::new();
        for mut entry in hidden {
            if keep(&mut entry.item) {
                state.entries.push_back(entry);
            } else {
                state.weight -= entry.weight;
                refused.push(entry.item);
            }
        }
        state.hidden = state.entries.len() - seen;
        refused
    }

    /// Waits until so much would fit, or the queue is empty.
    pub(super) async fn room(&self, weight: u64, count: usize) {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // Enabled before the look, so that what is freed right after it is not missed.
            freed.as_mut().enable();
            if self.fits(weight, count) || self.len() == 0 {
                return;
            }
            freed.await;
        }
    }

    /// Whether so much would fit without anything having to leave.
    pub(super) fn fits(&self, weight: u64, count: usize) -> bool {
        let limits = self.limits();
        let state = self.lock();
        state.entries.len().saturating_add(count) <= limits.count
            && state.weight.saturating_add(weight) <= limits.weight
    }

    /// Looks at entries from the newest on, and may change them, for as long as that says so.
    pub(super) fn newest(&self, mut change: impl FnMut(&mut T) -> bool) {
        let mut state = self.lock();
        for entry in state.entries.iter_mut().rev() {
            if !change(&mut entry.item) {
                return;
            }
        }
    }

    /// The first answer that an entry gives, from the oldest on.
    pub(super) fn find<R>(&self, look: impl FnMut(&T) -> Option<R>) -> Option<R> {
        self.lock().entries.iter().map(|entry| &entry.item).find_map(look)
    }

    /// Waits until there is something to lend (true), or nothing and never will be (false). Gives up
    /// (false) when `over` says so, which is asked after each [`Self::wake`].
    pub(super) async fn ready(&self, over: impl Fn() -> bool) -> bool {
        loop {
            {
                if over() {
                    return false;
                }
                let state = self.lock();
                if state.seen() > 0 {
                    return true;
                }
                if state.closed {
                    return false;
                }
            }
            self.filled.notified().await;
        }
    }

    /// Lends the oldest `count` entries, or as many as there are, of at most this weight together; the
    /// first whatever its weight. What was lent before is given back first.
    pub(super) fn lease(&self, count: usize, weight: u64) -> Vec<T> {
        let mut state = self.lock();
        let (most, mut sum) = (count.min(state.seen()), 0_u64);
        let fits = |(place, entry): &(usize, &Queued<T>)| {
            sum = sum.saturating_add(entry.weight);
            *place == 0 || sum <= weight
        };
        let leased = state.entries.iter().take(most).enumerate().take_while(fits);
        let items: Vec<T> = leased.map(|(_, entry)| entry.item.clone()).collect();
        state.leased = items.len();
        items
    }

    /// Takes the lent entries back; those that `keep` refuses leave the queue. `keep` sees them in
    /// order, with their place.
    pub(super) fn settle(&self, mut keep: impl FnMut(usize, &T) -> bool) {
        let mut state = self.lock();
        let count = state.leased;
        let leased: Vec<Queued<T>> = state.entries.drain(..count).collect();
        state.leased = 0;
        for (place, entry) in leased.into_iter().enumerate().rev() {
            if keep(place, &entry.item) {
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

    /// Empties the queue.
    pub(super) fn clear(&self) -> Vec<T> {
        let mut state = self.lock();
        (state.leased, state.hidden, state.weight) = (0, 0, 0);
        let items = state.entries.drain(..).map(|entry| entry.item).collect();
        drop(state);
        self.freed.notify_waiters();
        items
    }

    /// Nothing will be pushed any more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_one();
        self.closing.notify_waiters();
    }

    /// Somebody writes again.
    pub(super) fn reopen(&self) {
        self.lock().closed = false;
    }

    /// Has a reader look again whether it is still the one.
    pub(super) fn wake(&self) {
        self.filled.notify_one();
        self.closing.notify_waiters();
    }

    /// Waits until nothing will be pushed any more.
    pub(super) async fn closed(&self, over: impl Fn() -> bool) {
        loop {
            let closing = self.closing.notified();
            tokio::pin!(closing);
            closing.as_mut().enable();
            if over() || self.is_closed() {
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
    /// How many entries are not hidden.
    fn seen(&self) -> usize {
        self.entries.len() - self.hidden
    }

    fn append(&mut self, item: T, weight: u64, rank: u8) {
        self.entries.push_back(Queued { item, weight, rank });
        self.weight += weight;
    }

    /// Which limit one more entry of this weight would be over.
    fn over(&self, weight: u64, limits: Limits) -> Option<LimitExceeded> {
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
