//! How far a sink has emitted, and what its transformers had counted by then: one value, written in one
//! transaction. Counts that were written apart from it would be lost, or counted twice, after a
//! crash, because batches behind the mark run again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use nephometer_model::Offset;
use nephometer_telemetry::Account;

/// Places that are remembered while envelopes wait for the disk; past it every second one is
/// forgotten, so that a mark moves in longer steps.
const PLACES: usize = 512;

/// What is written of one sink.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SinkOffset {
    pub(super) sink: Arc<str>,
    pub(super) offset: Offset,
    /// What was counted up to there, by name.
    pub(super) accounts: Vec<(String, Account)>,
}

/// The mark of one sink.
#[derive(Debug, Default)]
pub(super) struct OffsetTracker {
    emitted: Offset,
    /// What was counted up to there and is not on disk, by name.
    accounts: BTreeMap<String, Account>,
    /// Where the mark on disk is.
    written: Offset,
    /// What was counted at places behind the mark.
    counted: VecDeque<(Offset, Vec<(String, Account)>)>,
}

impl OffsetTracker {
    /// At `emitted`, of which `written` is on disk.
    pub(super) fn new(emitted: Offset, written: Offset) -> Self {
        Self { emitted, written, ..Self::default() }
    }

    /// Up to here nothing has to be made again.
    pub(super) fn emitted(&self) -> Offset {
        self.emitted
    }

    /// A batch is through the transformers, which have counted so much by then.
    pub(super) fn count(&mut self, offset: Offset, accounts: Vec<(String, Account)>) {
        self.counted.push_back((offset, accounts));
        if self.counted.len() > PLACES {
            // The first and the last stay, because one more than an even number are there.
            let mut stays = false;
            self.counted.retain(|_| {
                stays = !stays;
                stays
            });
        }
    }

    /// Moves the mark to the last counted place that is not behind `to`.
    pub(super) fn advance(&mut self, to: Offset) {
        while let Some((offset, _)) = self.counted.front()
            && *offset <= to
            && let Some((offset, accounts)) = self.counted.pop_front()
        {
            self.emitted = self.emitted.max(offset);
            self.accounts.extend(accounts);
        }
    }

    /// The mark as it would be after [`Self::advance`].
    pub(super) fn ahead(&self, sink: &Arc<str>, to: Offset) -> SinkOffset {
        let (mut offset, mut accounts) = (self.emitted, self.accounts.clone());
        for (at, counted) in self.counted.iter().take_while(|(at, _)| *at <= to) {
            offset = offset.max(*at);
            accounts.extend(counted.iter().cloned());
        }
        SinkOffset { sink: Arc::clone(sink), offset, accounts: accounts.into_iter().collect() }
    }

    /// What is not on disk yet, if anything is not.
    pub(super) fn moved(&self, sink: &Arc<str>) -> Option<SinkOffset> {
        let moved = self.emitted != self.written || !self.accounts.is_empty();
        moved.then(|| self.ahead(sink, 0))
    }

    /// This is on disk.
    pub(super) fn write(&mut self, sink_offset: &SinkOffset) {
        self.written = self.written.max(sink_offset.offset);
        for (name, account) in &sink_offset.accounts {
            if self.accounts.get(name) == Some(account) {
                self.accounts.remove(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: u64) -> Vec<(String, Account)> {
        vec![("stage s/c/0".to_owned(), Account::from_numbers(vec![count]))]
    }

    #[test]
    fn a_mark_and_its_counts_move_together() {
        let sink: Arc<str> = "s".into();
        let mut offset_trackers = OffsetTracker::new(3, 3);
        assert_eq!(offset_trackers.moved(&sink), None);
        offset_trackers.count(4, rows(10));
        offset_trackers.count(7, rows(20));
        assert_eq!(offset_trackers.moved(&sink), None, "nothing was emitted");
        offset_trackers.advance(6);
        let at_4 = SinkOffset { sink: Arc::clone(&sink), offset: 4, accounts: rows(10) };
        assert_eq!(offset_trackers.moved(&sink), Some(at_4.clone()));
        // What moves while it is written is written next time.
        offset_trackers.advance(7);
        offset_trackers.write(&at_4);
        let at_7 = SinkOffset { sink: Arc::clone(&sink), offset: 7, accounts: rows(20) };
        assert_eq!(offset_trackers.moved(&sink), Some(at_7.clone()));
        offset_trackers.write(&at_7);
        assert_eq!(offset_trackers.moved(&sink), None);
        // Rows from dead letters count without a move.
        offset_trackers.count(7, rows(25));
        assert_eq!(offset_trackers.ahead(&sink, 7).accounts, rows(25));
        offset_trackers.advance(7);
        assert_eq!(offset_trackers.moved(&sink).unwrap().accounts, rows(25));
    }

    #[test]
    fn places_are_bounded_and_a_mark_never_runs_ahead_of_its_counts() {
        let sink: Arc<str> = "s".into();
        let mut offset_trackers = OffsetTracker::new(0, 0);
        for offset in 1..=100_000 {
            offset_trackers.count(offset, rows(offset));
        }
        assert!(offset_trackers.counted.len() <= PLACES);
        for to in [10, 1_000, 50_000, 99_999, 100_000] {
            offset_trackers.advance(to);
            if let Some(sink_offset) = offset_trackers.moved(&sink) {
                assert!(sink_offset.offset <= to);
                assert_eq!(sink_offset.accounts, rows(sink_offset.offset));
            }
        }
        assert_eq!(offset_trackers.emitted(), 100_000);
    }
}
