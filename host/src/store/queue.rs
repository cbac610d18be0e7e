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
pub(super) enum Hit {
    Weight,
    Count,
}

#[derive(Debug)]
pub(super) struct Queue<T> {
    count: usize,
    /// Changes with what else there is.
    weight: AtomicU64,
    state: Mutex<State<T>>,
    /// For the reader: there is something new, or nothing will come any more.
    filled: Notify,
    /// For waiting writers: something has left.
    freed: Notify,
    /// For whoever waits for the end.
    closing: Notify,
}

/// One entry.
#[derive(Debug)]
struct Entry<T> {
    item: T,
    weight: u64,
    /// Those of a higher rank make room later.
    rank: u8,
}

#[derive(Debug)]
struct State<T> {
    entries: VecDeque<Entry<T>>,
    weight: u64,
    /// How many entries at the front the reader has been lent.
    lent: usize,
    /// How many entries at the back nobody sees yet.
    hidden: usize,
    closed: bool,
}

impl<T: Clone> Queue<T> {
    pub(super) fn new(limits: Limits) -> Self {
        let state =
            State { entries: VecDeque::new(), weight: 0, lent: 0, hidden: 0, closed: false };
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

    fn lock(&self) -> MutexGuard<'_, State<T>> {
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
    ) -> (Vec<(T, Hit)>, Option<Hit>) {
        let limits = self.limits();
        let mut state = self.lock();
        let mut evicted = Vec::new();
        if weight > limits.weight {
            return (evicted, Some(Hit::Weight));
        }
        while let Some(hit) = state.over(weight, limits) {
            let seen = state.seen();
            let lowest = state.entries.range(state.lent..seen).map(|entry| entry.rank).min();
            let Some(lowest) = lowest else { return (evicted, Some(hit)) };
            if rank < lowest || (rank == lowest && newest) {
                return (evicted, Some(hit));
            }
            let mut places = state.lent..seen;
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
        while state.lent < state.seen()
            && state.entries.get(state.lent).is_some_and(|entry| unwanted(&entry.item))
        {
            let place = state.lent;
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
        let hidden: Vec<Entry<T>> = state.entries.drain(seen..).collect();
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
    pub(super) fn lend(&self, count: usize, weight: u64) -> Vec<T> {
        let mut state = self.lock();
        let (most, mut sum) = (count.min(state.seen()), 0_u64);
        let fits = |(place, entry): &(usize, &Entry<T>)| {
            sum = sum.saturating_add(entry.weight);
            *place == 0 || sum <= weight
        };
        let lent = state.entries.iter().take(most).enumerate().take_while(fits);
        let items: Vec<T> = lent.map(|(_, entry)| entry.item.clone()).collect();
        state.lent = items.len();
        items
    }

    /// Takes the lent entries back; those that `keep` refuses leave the queue. `keep` sees them in
    /// order, with their place.
    pub(super) fn settle(&self, mut keep: impl FnMut(usize, &T) -> bool) {
        let mut state = self.lock();
        let count = state.lent;
        let lent: Vec<Entry<T>> = state.entries.drain(..count).collect();
        state.lent = 0;
        for (place, entry) in lent.into_iter().enumerate().rev() {
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
        (state.lent, state.hidden, state.weight) = (0, 0, 0);
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

impl<T> State<T> {
    /// How many entries are not hidden.
    fn seen(&self) -> usize {
        self.entries.len() - self.hidden
    }

    fn append(&mut self, item: T, weight: u64, rank: u8) {
        self.entries.push_back(Entry { item, weight, rank });
        self.weight += weight;
    }

    /// Which limit one more entry of this weight would be over.
    fn over(&self, weight: u64, limits: Limits) -> Option<Hit> {
        if self.entries.len() >= limits.count {
            Some(Hit::Count)
        } else if self.weight.saturating_add(weight) > limits.weight {
            Some(Hit::Weight)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    fn queue(weight: u64, count: usize) -> Queue<u32> {
        Queue::new(Limits { weight, count })
    }

    /// Makes room for one and appends it: what left for it, itself if it does not fit.
    fn push(queue: &Queue<u32>, item: u32, weight: u64, rank: u8, newest: bool) -> Vec<(u32, Hit)> {
        let (mut left, refused) = queue.make_room(weight, rank, newest);
        match refused {
            Some(hit) => left.push((item, hit)),
            None => queue.append(item, weight, rank),
        }
        left
    }

    #[test]
    fn the_oldest_leave_but_never_what_is_lent() {
        let queue = queue(100, 3);
        for item in 0..3 {
            assert!(push(&queue, item, 1, 0, false).is_empty());
        }
        assert_eq!(push(&queue, 3, 1, 0, false), [(0, Hit::Count)]);
        assert_eq!(queue.lend(2, u64::MAX), [1, 2]);
        assert_eq!(push(&queue, 4, 1, 0, false), [(3, Hit::Count)]);
        assert_eq!(push(&queue, 5, 99, 0, false), [(4, Hit::Count), (5, Hit::Weight)]);
        assert_eq!(push(&queue, 6, 101, 0, false), [(6, Hit::Weight)]);
        queue.settle(|place, _| place == 1);
        assert_eq!(queue.lend(9, u64::MAX), [2]);
    }

    #[test]
    fn a_lower_rank_leaves_first_whichever_way() {
        for newest in [false, true] {
            let queue = queue(100, 3);
            for (item, rank) in [(0, 1), (1, 0), (2, 0)] {
                push(&queue, item, 1, rank, newest);
            }
            let first = if newest { 2 } else { 1 };
            assert_eq!(push(&queue, 3, 1, 1, newest), [(first, Hit::Count)]);
            assert_eq!(push(&queue, 4, 1, 1, newest), [(3 - first, Hit::Count)]);
            // Only those of the higher rank are left.
            assert_eq!(push(&queue, 5, 1, 0, newest), [(5, Hit::Count)]);
            let left = if newest { 6 } else { 0 };
            assert_eq!(push(&queue, 6, 1, 1, newest), [(left, Hit::Count)]);
        }
    }

    #[test]
    fn what_is_lent_is_bounded_by_its_weight() {
        let queue = queue(100, 9);
        for (item, weight) in [(0, 50), (1, 5), (2, 5), (3, 1)] {
            queue.append(item, weight, 0);
        }
        assert_eq!(queue.lend(9, 10), [0]);
        queue.settle(|_, _| false);
        assert_eq!(queue.lend(9, 10), [1, 2]);
        assert_eq!(queue.lend(9, 11), [1, 2, 3]);
    }

    #[tokio::test]
    async fn what_is_hidden_is_not_lent_and_makes_no_room() {
        let queue = queue(100, 3);
        queue.append(0, 1, 0);
        queue.append_hidden(1, 1, 0);
        queue.append_hidden(2, 1, 0);
        assert_eq!(queue.lend(9, u64::MAX), [0]);
        assert_eq!(queue.make_room(1, 0, false), (Vec::new(), Some(Hit::Count)));
        queue.settle(|_, _| true);
        assert_eq!(queue.make_room(1, 0, false), (vec![(0, Hit::Count)], None));
        assert!(!queue.ready(|| true).await);
        assert_eq!(queue.retain_hidden(|item| *item == 1), [2]);
        queue.reveal(|item| *item += 10);
        assert!(queue.ready(|| false).await);
        assert_eq!(queue.lend(9, u64::MAX), [11]);
        assert_eq!(queue.weight(), 1);
    }

    #[test]
    fn settling_keeps_the_order() {
        let queue = queue(100, 10);
        for item in 0..6 {
            queue.append(item, 1, 0);
        }
        queue.lend(4, u64::MAX);
        queue.settle(|_, item| item % 2 == 1);
        assert_eq!(queue.lend(9, u64::MAX), [1, 3, 4, 5]);
    }

    #[tokio::test]
    async fn a_waiting_writer_goes_on_when_there_is_room() {
        let queue = Arc::new(queue(2, 10));
        queue.room(2, 1).await;
        queue.append(0, 2, 0);
        let writer = {
            let queue = Arc::clone(&queue);
            tokio::spawn(async move {
                queue.room(5, 1).await;
                queue.append(1, 5, 0);
            })
        };
        tokio::task::yield_now().await;
        assert_eq!(queue.lend(9, u64::MAX), [0]);
        queue.settle(|_, _| false);
        writer.await.unwrap();
        assert_eq!(queue.lend(9, u64::MAX), [1]);
    }

    #[tokio::test]
    async fn a_closed_queue_is_read_to_its_end() {
        let queue = queue(9, 9);
        queue.append(0, 1, 0);
        queue.close();
        assert!(queue.ready(|| false).await);
        queue.lend(1, u64::MAX);
        queue.settle(|_, _| false);
        assert!(!queue.ready(|| false).await);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_unseen(
            steps in prop::collection::vec((0_u64..6, 0_usize..5, any::<bool>(), 0_u8..3, any::<bool>()), 1..60),
        ) {
            let queue = queue(12, 4);
            let (mut pushed, mut left) = (0_u32, Vec::new());
            for (weight, lend, keep, rank, newest) in steps {
                left.extend(push(&queue, pushed, weight, rank, newest).into_iter().map(|(item, _)| item));
                pushed += 1;
                prop_assert!(queue.len() <= 4 && queue.weight() <= 12);
                queue.lend(lend, u64::MAX);
                queue.settle(|_, item| {
                    if !keep {
                        left.push(*item);
                    }
                    keep
                });
            }
            let rest = queue.clear();
            prop_assert!(rest.is_sorted());
            left.extend(rest);
            left.sort_unstable();
            prop_assert_eq!(left, (0..pushed).collect::<Vec<_>>());
        }
    }
}
