//! A bounded first-in, first-out queue with one reader: what journal and spool are made of.
//!
//! What the reader has been lent stays in the queue until it says so, and is never dropped to make
//! room. No guard outlives a function here.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// What happens to an entry that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// The oldest entries make room and are counted as dropped.
    #[default]
    DropOldest,
    /// The writer waits: for replays, which must lose nothing and can be slow.
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
    limits: Limits,
    state: Mutex<State<T>>,
    /// For the reader: there is something new, or nothing will come any more.
    filled: Notify,
    /// For waiting writers: something has left.
    freed: Notify,
    /// For whoever waits for the end.
    closing: Notify,
}

#[derive(Debug)]
struct State<T> {
    /// Each with its weight.
    entries: VecDeque<(T, u64)>,
    weight: u64,
    /// How many entries at the front the reader has been lent.
    lent: usize,
    closed: bool,
}

impl<T: Clone> Queue<T> {
    pub(super) fn new(limits: Limits) -> Self {
        let state = State { entries: VecDeque::new(), weight: 0, lent: 0, closed: false };
        Self {
            limits,
            state: Mutex::new(state),
            filled: Notify::new(),
            freed: Notify::new(),
            closing: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Nothing between lock and unlock can panic half-way, so that the state is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends an entry and gives back what had to leave for it, the entry itself if all others
    /// are lent.
    pub(super) fn push(&self, item: T, weight: u64) -> Vec<(T, Hit)> {
        let mut state = self.lock();
        state.append(item, weight);
        let mut evicted = Vec::new();
        while let Some(hit) = state.over(self.limits) {
            // The new entry itself leaves if it is too big on its own.
            let oldest = state.lent;
            let Some((item, weight)) = state.entries.remove(oldest) else { break };
            state.weight -= weight;
            evicted.push((item, hit));
        }
        drop(state);
        self.filled.notify_one();
        evicted
    }

    /// Appends an entry as soon as there is room, or the queue is empty. Never runs past an entry
    /// of the same writer.
    pub(super) async fn push_waiting(&self, item: T, weight: u64) {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // Enabled before the look, so that what is freed right after it is not missed.
            freed.as_mut().enable();
            if self.push_if_room(&item, weight) {
                self.filled.notify_one();
                return;
            }
            freed.await;
        }
    }

    fn push_if_room(&self, item: &T, weight: u64) -> bool {
        let mut state = self.lock();
        let fits = state.entries.len() < self.limits.count
            && state.weight.saturating_add(weight) <= self.limits.weight;
        let room = fits || state.entries.is_empty();
        if room {
            state.append(item.clone(), weight);
        }
        room
    }

    /// Waits until there is something to lend (true), or nothing and never will be (false).
    pub(super) async fn ready(&self) -> bool {
        loop {
            {
                let state = self.lock();
                if !state.entries.is_empty() {
                    return true;
                }
                if state.closed {
                    return false;
                }
            }
            self.filled.notified().await;
        }
    }

    /// Lends the oldest `count` entries, or as many as there are; what was lent before is given
    /// back first.
    pub(super) fn lend(&self, count: usize) -> Vec<T> {
        let mut state = self.lock();
        state.lent = count.min(state.entries.len());
        state.entries.iter().take(count).map(|(item, _)| item.clone()).collect()
    }

    /// Takes the lent entries back; those that `keep` refuses leave the queue. `keep` sees them in
    /// order, with their place.
    pub(super) fn settle(&self, mut keep: impl FnMut(usize, &T) -> bool) {
        let mut state = self.lock();
        let lent: Vec<(T, u64)> = {
            let count = state.lent;
            state.entries.drain(..count).collect()
        };
        state.lent = 0;
        for (place, (item, weight)) in lent.into_iter().enumerate().rev() {
            if keep(place, &item) {
                state.entries.push_front((item, weight));
            } else {
                state.weight -= weight;
            }
        }
        drop(state);
        self.freed.notify_waiters();
    }

    /// Something about the oldest entry.
    pub(super) fn front<R>(&self, about: impl FnOnce(&T) -> R) -> Option<R> {
        self.lock().entries.front().map(|(item, _)| about(item))
    }

    /// Empties the queue.
    pub(super) fn clear(&self) -> Vec<T> {
        let mut state = self.lock();
        state.lent = 0;
        state.weight = 0;
        let items = state.entries.drain(..).map(|(item, _)| item).collect();
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

    /// Waits until nothing will be pushed any more.
    pub(super) async fn closed(&self) {
        loop {
            let closing = self.closing.notified();
            tokio::pin!(closing);
            closing.as_mut().enable();
            if self.is_closed() {
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
    fn append(&mut self, item: T, weight: u64) {
        self.entries.push_back((item, weight));
        self.weight += weight;
    }

    fn over(&self, limits: Limits) -> Option<Hit> {
        if self.entries.len() > limits.count {
            Some(Hit::Count)
        } else if self.weight > limits.weight {
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

    #[test]
    fn the_oldest_leave_but_never_what_is_lent() {
        let queue = queue(100, 3);
        for item in 0..3 {
            assert!(queue.push(item, 1).is_empty());
        }
        assert_eq!(queue.push(3, 1), [(0, Hit::Count)]);
        assert_eq!(queue.lend(2), [1, 2]);
        assert_eq!(queue.push(4, 1), [(3, Hit::Count)]);
        assert_eq!(queue.push(5, 99), [(4, Hit::Count), (5, Hit::Weight)]);
        queue.settle(|place, _| place == 1);
        assert_eq!(queue.lend(9), [2]);
    }

    #[test]
    fn settling_keeps_the_order() {
        let queue = queue(100, 10);
        for item in 0..6 {
            queue.push(item, 1);
        }
        queue.lend(4);
        queue.settle(|_, item| item % 2 == 1);
        assert_eq!(queue.lend(9), [1, 3, 4, 5]);
    }

    #[tokio::test]
    async fn a_waiting_writer_goes_on_when_there_is_room() {
        let queue = Arc::new(queue(2, 10));
        queue.push_waiting(0, 2).await;
        let writer = {
            let queue = Arc::clone(&queue);
            tokio::spawn(async move { queue.push_waiting(1, 5).await })
        };
        tokio::task::yield_now().await;
        assert_eq!(queue.lend(9), [0]);
        queue.settle(|_, _| false);
        writer.await.unwrap();
        assert_eq!(queue.lend(9), [1]);
    }

    #[tokio::test]
    async fn a_closed_queue_is_read_to_its_end() {
        let queue = queue(9, 9);
        queue.push(0, 1);
        queue.close();
        assert!(queue.ready().await);
        queue.lend(1);
        queue.settle(|_, _| false);
        assert!(!queue.ready().await);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_unseen(
            steps in prop::collection::vec((0_u64..6, 0_usize..5, any::<bool>()), 1..60),
        ) {
            let queue = queue(12, 4);
            let (mut pushed, mut left) = (0_u32, Vec::new());
            for (weight, lend, keep) in steps {
                left.extend(queue.push(pushed, weight).into_iter().map(|(item, _)| item));
                pushed += 1;
                prop_assert!(queue.len() <= 4);
                queue.lend(lend);
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
