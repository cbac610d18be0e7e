//! Counters as they are stored over restarts.
//!
//! Stored are the numbers that cannot be derived: what came in and what was dropped. What was
//! processed or confirmed is the rest, less what is still pending in the store. So the delivery law
//! holds after a crash, too.

use std::sync::atomic::Ordering::Relaxed;

use serde::{Deserialize, Serialize};

use super::counts::{DropCounts, Dropped, PublisherCount, SinkCount, TransformerCount};

/// The stored counters of one sink, transformer or publisher.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    numbers: Vec<u64>,
    /// Drops by reason.
    dropped: Vec<(String, u64)>,
    /// Samples by reason and meter.
    by_meter: Vec<(String, String, u64)>,
}

/// An account without drops.
impl From<Vec<u64>> for Account {
    fn from(numbers: Vec<u64>) -> Self {
        Self { numbers, ..Self::default() }
    }
}

impl Account {
    /// The nth number; 0 if there is none.
    pub fn number(&self, nth: usize) -> u64 {
        self.numbers.get(nth).copied().unwrap_or(0)
    }

    /// The sum of all drops.
    pub fn dropped(&self) -> u64 {
        self.dropped.iter().map(|(_, count)| count).sum()
    }

    fn with(numbers: Vec<u64>, drops: &DropCounts) -> Self {
        let reasons =
            Dropped::ALL.iter().map(|reason| (reason.as_str().to_owned(), drops.count(*reason)));
        let meters = drops.by_meter().into_iter();
        Self {
            numbers,
            dropped: reasons.filter(|(_, count)| *count > 0).collect(),
            by_meter: meters
                .map(|((reason, meter), count)| (reason.into(), meter, count))
                .collect(),
        }
    }

    /// Adds the drops to `drops`. Reasons that only a newer agent has are ignored.
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
    /// The key of its account in the store.
    pub fn name(sink: &str) -> String {
        format!("sink {sink}")
    }

    /// The account to store, with `more` samples about to enter.
    pub fn account(&self, more: u64) -> Account {
        Account::with(vec![self.entered.load(Relaxed) + more], &self.dropped)
    }

    /// Restores the counters; `pending` samples are not yet processed.
    pub fn restore(&self, account: &Account, pending: u64) {
        let entered = account.number(0).max(pending + account.dropped());
        self.entered.fetch_add(entered, Relaxed);
        self.processed.fetch_add(entered - pending - account.dropped(), Relaxed);
        self.pending.fetch_add(pending, Relaxed);
        account.restore_drops(&self.dropped);
    }
}

impl TransformerCount {
    /// The key in the store of the account of a sink's `nth` transformer of this name.
    pub fn name(sink: &str, component: &str, nth: usize) -> String {
        format!("stage {sink}/{component}/{nth}")
    }

    /// The account to store.
    pub fn account(&self) -> Account {
        let numbers = [&self.samples_in, &self.passed, &self.absorbed, &self.created];
        Account::with(numbers.map(|number| number.load(Relaxed)).to_vec(), &self.dropped)
    }

    /// Restores the counters.
    pub fn restore(&self, account: &Account) {
        let numbers = [&self.samples_in, &self.passed, &self.absorbed, &self.created];
        for (nth, number) in numbers.into_iter().enumerate() {
            number.fetch_add(account.number(nth), Relaxed);
        }
        account.restore_drops(&self.dropped);
    }
}

impl PublisherCount {
    /// The account to store, without `forgotten` envelopes, which a crash would lose and the next run
    /// encodes again.
    pub fn account(&self, forgotten: u64) -> Account {
        let encoded = self.encoded.load(Relaxed).saturating_sub(forgotten);
        Account::with(vec![encoded, self.samples.load(Relaxed)], &self.dropped)
    }

    /// Restores the counters; `pending` envelopes are not acknowledged.
    pub fn restore(&self, account: &Account, pending: u64) {
        let encoded = account.number(0).max(pending + account.dropped());
        self.encoded.fetch_add(encoded, Relaxed);
        self.samples.fetch_add(account.number(1), Relaxed);
        self.pending.fetch_add(pending, Relaxed);
        self.confirmed.fetch_add(encoded - pending - account.dropped(), Relaxed);
        account.restore_drops(&self.dropped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confirmed_count_is_derived_from_the_others() {
        let before = PublisherCount::default();
        before.encoded.fetch_add(10, Relaxed);
        before.samples.fetch_add(70, Relaxed);
        before.dropped.add(Dropped::SpoolFull, 2);
        before.dropped.add_meters(Dropped::SpoolFull, [("cpu", 7)]);
        let after = PublisherCount::default();
        after.restore(&before.account(1), 3);
        let numbers = [&after.encoded, &after.confirmed, &after.pending, &after.samples];
        assert_eq!(numbers.map(|number| number.load(Relaxed)), [9, 4, 3, 70]);
        assert_eq!(after.account(0), before.account(1));
    }

    #[test]
    fn more_pending_than_entered_is_no_breach() {
        let sink = SinkCount::default();
        sink.restore(&Account::from(vec![5]), 8);
        assert_eq!((sink.entered.load(Relaxed), sink.processed.load(Relaxed)), (8, 0));
    }
}
