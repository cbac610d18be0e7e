//! How far a sink has emitted, and what its transformers had counted by then: one value, written in one
//! transaction. Counts that were written apart from it would be lost, or counted twice, after a
//! crash, because batches behind the mark run again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use nephometer_model::Position;
use nephometer_telemetry::Account;

/// Places that are remembered while envelopes wait for the disk; past it every second one is
/// forgotten, so that a mark moves in longer steps.
const PLACES: usize = 512;

/// What is written of one sink.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Mark {
    pub(super) sink: Arc<str>,
    pub(super) position: Position,
    /// What was counted up to there, by name.
    pub(super) accounts: Vec<(String, Account)>,
}

/// The mark of one sink.
#[derive(Debug, Default)]
pub(super) struct Marks {
    emitted: Position,
    /// What was counted up to there and is not on disk, by name.
    accounts: BTreeMap<String, Account>,
    /// Where the mark on disk is.
    written: Position,
    /// What was counted at places behind the mark.
    counted: VecDeque<(Position, Vec<(String, Account)>)>,
}

impl Marks {
    /// At `emitted`, of which `written` is on disk.
    pub(super) fn new(emitted: Position, written: Position) -> Self {
        Self { emitted, written, ..Self::default() }
    }

    /// Up to here nothing has to be made again.
    pub(super) fn emitted(&self) -> Position {
        self.emitted
    }

    /// A batch is through the transformers, which have counted so much by then.
    pub(super) fn count(&mut self, position: Position, accounts: Vec<(String, Account)>) {
        self.counted.push_back((position, accounts));
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
    pub(super) fn advance(&mut self, to: Position) {
        while let Some((position, _)) = self.counted.front()
            && *position <= to
            && let Some((position, accounts)) = self.counted.pop_front()
        {
            self.emitted = self.emitted.max(position);
            self.accounts.extend(accounts);
        }
    }

    /// The mark as it would be after [`Self::advance`].
    pub(super) fn ahead(&self, sink: &Arc<str>, to: Position) -> Mark {
        let (mut position, mut accounts) = (self.emitted, self.accounts.clone());
        for (at, counted) in self.counted.iter().take_while(|(at, _)| *at <= to) {
            position = position.max(*at);
            accounts.extend(counted.iter().cloned());
        }
        Mark { sink: Arc::clone(sink), position, accounts: accounts.into_iter().collect() }
    }

    /// What is not on disk yet, if anything is not.
    pub(super) fn moved(&self, sink: &Arc<str>) -> Option<Mark> {
        let moved = self.emitted != self.written || !self.accounts.is_empty();
        moved.then(|| self.ahead(sink, 0))
    }

    /// This is on disk.
    pub(super) fn write(&mut self, mark: &Mark) {
        self.written = self.written.max(mark.position);
        for (name, account) in &mark.accounts {
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
        vec![("stage s/c/0".to_owned(), Account::of(vec![count]))]
    }

    #[test]
    fn a_mark_and_its_counts_move_together() {
        let sink: Arc<str> = "s".into();
        let mut marks = Marks::new(3, 3);
        assert_eq!(marks.moved(&sink), None);
        marks.count(4, rows(10));
        marks.count(7, rows(20));
        assert_eq!(marks.moved(&sink), None, "nothing was emitted");
        marks.advance(6);
        let at_4 = Mark { sink: Arc::clone(&sink), position: 4, accounts: rows(10) };
        assert_eq!(marks.moved(&sink), Some(at_4.clone()));
        // What moves while it is written is written next time.
        marks.advance(7);
        marks.write(&at_4);
        let at_7 = Mark { sink: Arc::clone(&sink), position: 7, accounts: rows(20) };
        assert_eq!(marks.moved(&sink), Some(at_7.clone()));
        marks.write(&at_7);
        assert_eq!(marks.moved(&sink), None);
        // Rows from dead letters count without a move.
        marks.count(7, rows(25));
        assert_eq!(marks.ahead(&sink, 7).accounts, rows(25));
        marks.advance(7);
        assert_eq!(marks.moved(&sink).unwrap().accounts, rows(25));
    }

    #[test]
    fn places_are_bounded_and_a_mark_never_runs_ahead_of_its_counts() {
        let sink: Arc<str> = "s".into();
        let mut marks = Marks::new(0, 0);
        for position in 1..=100_000 {
            marks.count(position, rows(position));
        }
        assert!(marks.counted.len() <= PLACES);
        for to in [10, 1_000, 50_000, 99_999, 100_000] {
            marks.advance(to);
            if let Some(mark) = marks.moved(&sink) {
                assert!(mark.position <= to);
                assert_eq!(mark.accounts, rows(mark.position));
            }
        }
        assert_eq!(marks.emitted(), 100_000);
    }
}
