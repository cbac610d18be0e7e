//! The emitted offset of a sink and the counters of its transformers at that offset: one value,
//! written in one transaction.
//!
//! Batches after the emitted offset run again after a crash. Counters that were written separately
//! would be lost or counted twice.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use nephometer_model::Offset;
use nephometer_telemetry::Account;

/// Checkpoints that are kept while envelopes wait for the disk. Past it every second one is dropped,
/// so that the emitted offset moves in longer steps.
const MAX_CHECKPOINTS: usize = 512;

/// The emitted offset of one sink as it is written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SinkOffset {
    pub(super) sink: Arc<str>,
    pub(super) offset: Offset,
    /// Counters at that offset, by name.
    pub(super) accounts: Vec<(String, Account)>,
}

/// Tracks the emitted offset of one sink.
#[derive(Debug, Default)]
pub(super) struct OffsetTracker {
    emitted: Offset,
    /// Counters at the emitted offset that are not on disk, by name.
    accounts: BTreeMap<String, Account>,
    /// The emitted offset on disk.
    written: Offset,
    /// Counters at offsets after the emitted one.
    checkpoints: VecDeque<(Offset, Vec<(String, Account)>)>,
}

impl OffsetTracker {
    /// A tracker at `emitted`, of which `written` is on disk.
    pub(super) fn new(emitted: Offset, written: Offset) -> Self {
        Self { emitted, written, ..Self::default() }
    }

    /// Batches up to this offset need not be processed again.
    pub(super) fn emitted(&self) -> Offset {
        self.emitted
    }

    /// Records the counters of the transformers after a batch.
    pub(super) fn checkpoint(&mut self, offset: Offset, accounts: Vec<(String, Account)>) {
        self.checkpoints.push_back((offset, accounts));
        if self.checkpoints.len() > MAX_CHECKPOINTS {
            // The number is odd here, so that the first and the last one stay.
            let mut keep = false;
            self.checkpoints.retain(|_| {
                keep = !keep;
                keep
            });
        }
    }

    /// Moves the emitted offset to the last checkpoint that is not after `to`.
    pub(super) fn advance(&mut self, to: Offset) {
        while let Some((offset, _)) = self.checkpoints.front()
            && *offset <= to
            && let Some((offset, accounts)) = self.checkpoints.pop_front()
        {
            self.emitted = self.emitted.max(offset);
            self.accounts.extend(accounts);
        }
    }

    /// The value that [`Self::advance`] would lead to.
    pub(super) fn advanced(&self, sink: &Arc<str>, to: Offset) -> SinkOffset {
        let (mut offset, mut accounts) = (self.emitted, self.accounts.clone());
        for (at, counted) in self.checkpoints.iter().take_while(|(at, _)| *at <= to) {
            offset = offset.max(*at);
            accounts.extend(counted.iter().cloned());
        }
        SinkOffset { sink: Arc::clone(sink), offset, accounts: accounts.into_iter().collect() }
    }

    /// The value to write; `None` if it is on disk already.
    pub(super) fn unwritten(&self, sink: &Arc<str>) -> Option<SinkOffset> {
        let changed = self.emitted != self.written || !self.accounts.is_empty();
        changed.then(|| self.advanced(sink, 0))
    }

    /// Records that a value is on disk.
    pub(super) fn mark_written(&mut self, value: &SinkOffset) {
        self.written = self.written.max(value.offset);
        for (name, account) in &value.accounts {
            if self.accounts.get(name) == Some(account) {
                self.accounts.remove(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts(count: u64) -> Vec<(String, Account)> {
        vec![("stage s/c/0".to_owned(), Account::from(vec![count]))]
    }

    #[test]
    fn emitted_offset_and_counters_move_together() {
        let sink: Arc<str> = "s".into();
        let mut tracker = OffsetTracker::new(3, 3);
        assert_eq!(tracker.unwritten(&sink), None);
        tracker.checkpoint(4, accounts(10));
        tracker.checkpoint(7, accounts(20));
        assert_eq!(tracker.unwritten(&sink), None, "nothing was emitted");
        tracker.advance(6);
        let at_4 = SinkOffset { sink: Arc::clone(&sink), offset: 4, accounts: accounts(10) };
        assert_eq!(tracker.unwritten(&sink), Some(at_4.clone()));
        // An advance during a write is written the next time.
        tracker.advance(7);
        tracker.mark_written(&at_4);
        let at_7 = SinkOffset { sink: Arc::clone(&sink), offset: 7, accounts: accounts(20) };
        assert_eq!(tracker.unwritten(&sink), Some(at_7.clone()));
        tracker.mark_written(&at_7);
        assert_eq!(tracker.unwritten(&sink), None);
        // Retried dead letters change counters without moving the offset.
        tracker.checkpoint(7, accounts(25));
        assert_eq!(tracker.advanced(&sink, 7).accounts, accounts(25));
        tracker.advance(7);
        assert_eq!(tracker.unwritten(&sink).unwrap().accounts, accounts(25));
    }

    #[test]
    fn checkpoints_are_bounded_and_counters_always_match_the_offset() {
        let sink: Arc<str> = "s".into();
        let mut tracker = OffsetTracker::new(0, 0);
        for offset in 1..=100_000 {
            tracker.checkpoint(offset, accounts(offset));
        }
        assert!(tracker.checkpoints.len() <= MAX_CHECKPOINTS);
        for to in [10, 1_000, 50_000, 99_999, 100_000] {
            tracker.advance(to);
            if let Some(value) = tracker.unwritten(&sink) {
                assert!(value.offset <= to);
                assert_eq!(value.accounts, accounts(value.offset));
            }
        }
        assert_eq!(tracker.emitted(), 100_000);
    }
}
