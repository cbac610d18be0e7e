use std::sync::Arc;

use proptest::prelude::*;

use super::*;

fn queue(weight: u64, count: usize) -> Queue<u32> {
    Queue::new(Limits { weight, count })
}

/// Makes room for an entry and appends it. Returns what was evicted, or the entry if it does not fit.
fn push(
    queue: &Queue<u32>,
    item: u32,
    weight: u64,
    rank: u8,
    newest: bool,
) -> Vec<(u32, LimitExceeded)> {
    let (mut dropped, exceeded) = queue.make_room(weight, rank, newest);
    match exceeded {
        Some(limit) => dropped.push((item, limit)),
        None => queue.append(item, weight, rank),
    }
    dropped
}

#[test]
fn oldest_entries_are_evicted_but_never_leased_ones() {
    let queue = queue(100, 3);
    for item in 0..3 {
        assert!(push(&queue, item, 1, 0, false).is_empty());
    }
    assert_eq!(push(&queue, 3, 1, 0, false), [(0, LimitExceeded::Count)]);
    assert_eq!(queue.lease(2, u64::MAX), [1, 2]);
    assert_eq!(push(&queue, 4, 1, 0, false), [(3, LimitExceeded::Count)]);
    assert_eq!(
        push(&queue, 5, 99, 0, false),
        [(4, LimitExceeded::Count), (5, LimitExceeded::Weight)]
    );
    assert_eq!(push(&queue, 6, 101, 0, false), [(6, LimitExceeded::Weight)]);
    queue.end_lease(|index, _| index == 1);
    assert_eq!(queue.lease(9, u64::MAX), [2]);
}

#[test]
fn lower_ranks_are_evicted_first() {
    for newest in [false, true] {
        let queue = queue(100, 3);
        for (item, rank) in [(0, 1), (1, 0), (2, 0)] {
            push(&queue, item, 1, rank, newest);
        }
        let first = if newest { 2 } else { 1 };
        assert_eq!(push(&queue, 3, 1, 1, newest), [(first, LimitExceeded::Count)]);
        assert_eq!(push(&queue, 4, 1, 1, newest), [(3 - first, LimitExceeded::Count)]);
        // Only entries of the higher rank remain.
        assert_eq!(push(&queue, 5, 1, 0, newest), [(5, LimitExceeded::Count)]);
        let left = if newest { 6 } else { 0 };
        assert_eq!(push(&queue, 6, 1, 1, newest), [(left, LimitExceeded::Count)]);
    }
}

#[test]
fn lease_is_bounded_by_weight() {
    let queue = queue(100, 9);
    for (item, weight) in [(0, 50), (1, 5), (2, 5), (3, 1)] {
        queue.append(item, weight, 0);
    }
    assert_eq!(queue.lease(9, 10), [0]);
    queue.end_lease(|_, _| false);
    assert_eq!(queue.lease(9, 10), [1, 2]);
    assert_eq!(queue.lease(9, 11), [1, 2, 3]);
}

#[tokio::test]
async fn hidden_entries_are_neither_leased_nor_evicted() {
    let queue = queue(100, 3);
    queue.append(0, 1, 0);
    queue.append_hidden(1, 1, 0);
    queue.append_hidden(2, 1, 0);
    assert_eq!(queue.lease(9, u64::MAX), [0]);
    assert_eq!(queue.make_room(1, 0, false), (Vec::new(), Some(LimitExceeded::Count)));
    queue.end_lease(|_, _| true);
    assert_eq!(queue.make_room(1, 0, false), (vec![(0, LimitExceeded::Count)], None));
    assert!(!queue.ready(|| true).await);
    assert_eq!(queue.retain_hidden(|item| *item == 1), [2]);
    queue.reveal(|item| *item += 10);
    assert!(queue.ready(|| false).await);
    assert_eq!(queue.lease(9, u64::MAX), [11]);
    assert_eq!(queue.weight(), 1);
}

#[test]
fn ending_a_lease_keeps_the_order() {
    let queue = queue(100, 10);
    for item in 0..6 {
        queue.append(item, 1, 0);
    }
    queue.lease(4, u64::MAX);
    queue.end_lease(|_, item| item % 2 == 1);
    assert_eq!(queue.lease(9, u64::MAX), [1, 3, 4, 5]);
}

#[tokio::test]
async fn waiting_writer_continues_when_there_is_room() {
    let queue = Arc::new(queue(2, 10));
    queue.wait_for_room(2, 1).await;
    queue.append(0, 2, 0);
    let writer = {
        let queue = Arc::clone(&queue);
        tokio::spawn(async move {
            queue.wait_for_room(5, 1).await;
            queue.append(1, 5, 0);
        })
    };
    tokio::task::yield_now().await;
    assert_eq!(queue.lease(9, u64::MAX), [0]);
    queue.end_lease(|_, _| false);
    writer.await.unwrap();
    assert_eq!(queue.lease(9, u64::MAX), [1]);
}

#[tokio::test]
async fn closed_queue_is_read_to_its_end() {
    let queue = queue(9, 9);
    queue.append(0, 1, 0);
    queue.close();
    assert!(queue.ready(|| false).await);
    queue.lease(1, u64::MAX);
    queue.end_lease(|_, _| false);
    assert!(!queue.ready(|| false).await);
}

proptest! {
    #[test]
    fn every_entry_is_either_queued_or_returned(
        steps in prop::collection::vec((0_u64..6, 0_usize..5, any::<bool>(), 0_u8..3, any::<bool>()), 1..60),
    ) {
        let queue = queue(12, 4);
        let (mut pushed, mut left) = (0_u32, Vec::new());
        for (weight, lease, keep, rank, newest) in steps {
            left.extend(push(&queue, pushed, weight, rank, newest).into_iter().map(|(item, _)| item));
            pushed += 1;
            prop_assert!(queue.len() <= 4 && queue.weight() <= 12);
            queue.lease(lease, u64::MAX);
            queue.end_lease(|_, item| {
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
