//! Counters as they are kept over restarts.
//!
//! Only what cannot be told from what is held is kept: what was confirmed or worked off is what came
//! in, less what was dropped and what is still there. So the delivery law holds after a crash, too.

use std::sync::atomic::Ordering::Relaxed;

use serde::{Deserialize, Serialize};

use super::counts::{DropCounts, Dropped, PublisherCount, SinkCount, TransformerCount};

/// The counters of one sink, stage or publisher.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    numbers: Vec<u64>,
    /// By reason.
    dropped: Vec<(String, u64)>,
    /// Samples by reason and meter.
    by_meter: Vec<(String, String, u64)>,
}

impl Account {
    /// Of numbers alone.
    pub fn of(numbers: Vec<u64>) -> Self {
        Self { numbers, ..Self::default() }
    }

    /// The nth number; 0 where there is none.
    pub fn number(&self, nth: usize) -> u64 {
        self.numbers.get(nth).copied().unwrap_or(0)
    }

    /// All drops together.
    pub fn dropped(&self) -> u64 {
        self.dropped.iter().map(|(_, count)| count).sum()
    }

    fn with(numbers: Vec<u64>, drops: &DropCounts) -> Self {
        let reasons =
            Dropped::ALL.iter().map(|reason| (reason.as_str().to_owned(), drops.of(*reason)));
        let meters = drops.by_meter().into_iter();
        Self {
            numbers,
            dropped: reasons.filter(|(_, count)| *count > 0).collect(),
            by_meter: meters
                .map(|((reason, meter), count)| (reason.into(), meter, count))
                .collect(),
        }
    }

    /// Adds the drops; a reason of a newer agent is left out.
    fn restore_drops(&self, drops: &DropCounts) {
        for reason in Dropped::ALL {
            let word = reason.as_str();
            let counts = self.dropped.iter().filter(|(known, _)| known == word);
            drops.add(reason, counts.map(|(_, count)| count).sum());
            let meters = self.by_meter.iter().filter(|(known, _, _)| known == word);
            drops.add_meters(reason, meters.map(|(_, meter, count)| (meter.as_str(), *count)));
        }
    }
}

impl SinkCount {
    /// The name of its account.
    pub fn name(sink: &str) -> String {
        format!("sink {sink}")
    }

    /// What is kept, with `more` samples about to enter.
    pub fn account(&self, more: u64) -> Account {
        Account::with(vec![self.entered.load(Relaxed) + more], &self.dropped)
    }

    /// As it was when `held` samples had yet to be worked off.
    pub fn restore(&self, account: &Account, held: u64) {
        let entered = account.number(0).max(held + account.dropped());
        self.entered.fetch_add(entered, Relaxed);
        self.processed.fetch_add(entered - held - account.dropped(), Relaxed);
        self.held.fetch_add(held, Relaxed);
        account.restore_drops(&self.dropped);
    }
}

impl TransformerCount {
    /// The name of the account of a sink's `nth` transformer of this name.
    pub fn name(sink: &str, component: &str, nth: usize) -> String {
        format!("stage {sink}/{component}/{nth}")
    }

    /// What is kept.
    pub fn account(&self) -> Account {
        let numbers = [&self.rows_in, &self.passed, &self.absorbed, &self.made];
        Account::with(numbers.map(|number| number.load(Relaxed)).to_vec(), &self.dropped)
    }

    /// As it was.
    pub fn restore(&self, account: &Account) {
        let numbers = [&self.rows_in, &self.passed, &self.absorbed, &self.made];
        for (nth, number) in numbers.into_iter().enumerate() {
            number.fetch_add(account.number(nth), Relaxed);
        }
        account.restore_drops(&self.dropped);
    }
}

impl PublisherCount {
    /// What is kept; `forgotten` envelopes are not there after a crash, and will be made again.
    pub fn account(&self, forgotten: u64) -> Account {
        let encoded = self.encoded.load(Relaxed).saturating_sub(forgotten);
        Account::with(vec![encoded, self.samples.load(Relaxed)], &self.dropped)
    }

    /// As it was when `held` envelopes were not settled.
    pub fn restore(&self, account: &Account, held: u64) {
        let encoded = account.number(0).max(held + account.dropped());
        self.encoded.fetch_add(encoded, Relaxed);
        self.samples.fetch_add(account.number(1), Relaxed);
        self.held.fetch_add(held, Relaxed);
        self.confirmed.fetch_add(encoded - held - account.dropped(), Relaxed);
        account.restore_drops(&self.dropped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_confirmed_follows_from_the_rest() {
        let before = PublisherCount::default();
        before.encoded.fetch_add(10, Relaxed);
        before.samples.fetch_add(70, Relaxed);
        before.dropped.add(Dropped::SpoolFull, 2);
        before.dropped.add_meters(Dropped::SpoolFull, [("cpu", 7)]);
        let after = PublisherCount::default();
        after.restore(&before.account(1), 3);
        let numbers = [&after.encoded, &after.confirmed, &after.held, &after.samples];
        assert_eq!(numbers.map(|number| number.load(Relaxed)), [9, 4, 3, 70]);
        assert_eq!(after.account(0), before.account(1));
    }

    #[test]
    fn more_held_than_was_known_is_no_breach() {
        let sink = SinkCount::default();
        sink.restore(&Account::of(vec![5]), 8);
        assert_eq!((sink.entered.load(Relaxed), sink.processed.load(Relaxed)), (8, 0));
    }
}
