//! The delivery law as counters: what went in is what came out, was absorbed, dropped or held.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::account::Account;
use super::counts::{PublisherCount, SinkCount, TransformerCount};

/// The name of the account of the agent's own numbers.
const AGENT: &str = "agent";

/// One sink with its stages and publishers.
#[derive(Debug)]
struct SinkEntry {
    name: Arc<str>,
    count: Arc<SinkCount>,
    transformers: Vec<(Arc<str>, Arc<TransformerCount>)>,
    publishers: Vec<(Arc<str>, Arc<PublisherCount>)>,
}

/// All counters of one agent.
#[derive(Debug, Default)]
pub struct Ledger {
    /// What an earlier run has left, by name, until it is asked for.
    kept: Mutex<HashMap<String, Account>>,
    /// Grows when a reload brings something new; what it takes away stays, with its counts. Locked
    /// to look or to add, never over anything that takes time.
    sinks: Mutex<Vec<SinkEntry>>,
    /// Samples made from readings.
    pub polled: Arc<AtomicU64>,
    /// Ticks that were not taken because the one before outlasted the interval.
    pub cycles_skipped: Arc<AtomicU64>,
    /// Domains that were not read in a tick although they were there.
    pub missing: Arc<AtomicU64>,
    /// Numbers that a wanted meter needs and libvirt did not give.
    pub absent: Arc<AtomicU64>,
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, Vec<SinkEntry>> {
        // Nothing between lock and unlock can panic half-way, so that the list is whole.
        self.sinks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is kept of the agent's own numbers, with its name, if so many samples were polled.
    pub fn account(&self, polled: u64) -> (String, Account) {
        let numbers = [&self.cycles_skipped, &self.missing, &self.absent];
        let numbers = numbers.map(|number| number.load(Relaxed));
        (AGENT.to_owned(), Account::of([&[polled], &numbers[..]].concat()))
    }

    /// The counters of a sink; new ones in the order in which they are asked for.
    pub fn sink(&self, name: &Arc<str>) -> Arc<SinkCount> {
        let mut sinks = self.lock();
        if let Some(sink) = sinks.iter().find(|sink| sink.name == *name) {
            return Arc::clone(&sink.count);
        }
        let count = Arc::new(SinkCount::default());
        sinks.push(SinkEntry {
            name: Arc::clone(name),
            count: Arc::clone(&count),
            transformers: Vec::new(),
            publishers: Vec::new(),
        });
        count
    }

    /// The counters of a sink's `nth` transformer of this name, from 0. New ones begin with what an
    /// earlier run has left.
    pub fn transformer(
        &self,
        sink: &str,
        component: &Arc<str>,
        nth: usize,
    ) -> Arc<TransformerCount> {
        let mut sinks = self.lock();
        let Some(entries) = sinks.iter_mut().find(|entry| &*entry.name == sink) else {
            return Arc::default();
        };
        let count = entry(&mut entries.transformers, component, nth);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = kept.remove(&TransformerCount::name(sink, component, nth)) {
            count.restore(&account);
        }
        count
    }

    /// Takes up what an earlier run has left, by name.
    pub fn take_up(&self, accounts: impl IntoIterator<Item = (String, Account)>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(accounts);
        if let Some(account) = kept.remove(AGENT) {
            let numbers = [&self.polled, &self.cycles_skipped, &self.missing, &self.absent];
            for (nth, number) in numbers.into_iter().enumerate() {
                number.fetch_add(account.number(nth), Relaxed);
            }
        }
    }

    /// The counters of a sink's publisher. `label` holds no secret, and tells it from others of its sink.
    pub fn publisher(&self, sink: &str, label: &Arc<str>) -> Arc<PublisherCount> {
        let mut sinks = self.lock();
        let Some(sink) = sinks.iter_mut().find(|entry| &*entry.name == sink) else {
            return Arc::default();
        };
        entry(&mut sink.publishers, label, 0)
    }

    /// What has neither been delivered nor given up: samples in journals, envelopes in spools.
    pub fn held(&self) -> (u64, u64) {
        let mut held = (0, 0);
        for sink in self.lock().iter() {
            held.0 += sink.count.held.load(Relaxed);
            held.1 +=
                sink.publishers.iter().map(|(_, count)| count.held.load(Relaxed)).sum::<u64>();
        }
        held
    }

    /// Where the law does not hold, in words; empty if it holds everywhere. Only meaningful while
    /// nothing moves.
    pub fn breaches(&self) -> Vec<String> {
        let mut breaches = Vec::new();
        for sink in self.lock().iter() {
            let entered = sink.count.entered.load(Relaxed);
            let known = sink.count.processed.load(Relaxed)
                + sink.count.dropped.total()
                + sink.count.held.load(Relaxed);
            if entered != known {
                breaches.push(format!("sink {}: {entered} samples in, {known} known", sink.name));
            }
            for (name, transformer) in &sink.transformers {
                let rows_in = transformer.rows_in.load(Relaxed);
                let known = transformer.passed.load(Relaxed)
                    + transformer.absorbed.load(Relaxed)
                    + transformer.dropped.total();
                if rows_in != known {
                    breaches
                        .push(format!("{}/{name}: {rows_in} rows in, {known} known", sink.name));
                }
            }
            for (label, publisher) in &sink.publishers {
                let encoded = publisher.encoded.load(Relaxed);
                let known = publisher.confirmed.load(Relaxed)
                    + publisher.dropped.total()
                    + publisher.held.load(Relaxed);
                if encoded != known {
                    breaches
                        .push(format!("{}/{label}: {encoded} encoded, {known} known", sink.name));
                }
            }
        }
        breaches
    }
}

/// The `nth` entry of this name, made if it is not there.
fn entry<T: Default>(entries: &mut Vec<(Arc<str>, Arc<T>)>, name: &Arc<str>, nth: usize) -> Arc<T> {
    if let Some((_, count)) = entries.iter().filter(|(known, _)| known == name).nth(nth) {
        return Arc::clone(count);
    }
    let count = Arc::<T>::default();
    entries.push((Arc::clone(name), Arc::clone(&count)));
    count
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "ledger: {} samples polled, {} ticks skipped, {} domain readings missing, {} numbers absent",
            self.polled.load(Relaxed),
            self.cycles_skipped.load(Relaxed),
            self.missing.load(Relaxed),
            self.absent.load(Relaxed)
        )?;
        for sink in self.lock().iter() {
            writeln!(
                f,
                "  sink {}: {} samples in = {} processed + {} + {} held",
                sink.name,
                sink.count.entered.load(Relaxed),
                sink.count.processed.load(Relaxed),
                sink.count.dropped,
                sink.count.held.load(Relaxed)
            )?;
            for (name, transformer) in &sink.transformers {
                let passed = transformer.passed.load(Relaxed);
                let made = transformer.made.load(Relaxed);
                writeln!(
                    f,
                    "    {name}: {} rows in = {passed} passed + {} absorbed + {}; {} rows out = {passed} passed + {made} made",
                    transformer.rows_in.load(Relaxed),
                    transformer.absorbed.load(Relaxed),
                    transformer.dropped,
                    passed + made
                )?;
            }
            for (label, publisher) in &sink.publishers {
                writeln!(
                    f,
                    "    {label}: {} samples in {} envelopes = {} confirmed + {} + {} held",
                    publisher.samples.load(Relaxed),
                    publisher.encoded.load(Relaxed),
                    publisher.confirmed.load(Relaxed),
                    publisher.dropped,
                    publisher.held.load(Relaxed)
                )?;
                // Which samples were in what was dropped.
                for ((reason, meter), samples) in publisher.dropped.by_meter() {
                    if samples > 0 {
                        writeln!(f, "      {reason}: {samples} samples of {meter}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::counts::Dropped;
    use super::*;

    /// A ledger with one sink, transformer and publisher that adds up, after `break_it`.
    fn breaches(
        break_it: impl FnOnce(&SinkCount, &TransformerCount, &PublisherCount),
    ) -> Vec<String> {
        let (ledger, name) = (Ledger::default(), Arc::from("s"));
        let (sink, transformer) = (ledger.sink(&name), ledger.transformer("s", &Arc::from("t"), 0));
        let publisher = ledger.publisher("s", &Arc::from("p"));
        let set = |counter: &AtomicU64, count| _ = counter.fetch_add(count, Relaxed);
        set(&sink.entered, 10);
        set(&sink.processed, 6);
        sink.dropped.add(Dropped::JournalFull, 1);
        set(&sink.held, 3);
        set(&transformer.rows_in, 6);
        set(&transformer.passed, 3);
        set(&transformer.absorbed, 2);
        transformer.dropped.add(Dropped::Rejected, 1);
        set(&publisher.encoded, 4);
        set(&publisher.confirmed, 2);
        publisher.dropped.add(Dropped::SpoolFull, 1);
        set(&publisher.held, 1);
        break_it(&sink, &transformer, &publisher);
        ledger.breaches()
    }

    // What was held and absorbed was what the others left, so that these two could not fail.
    #[test]
    fn each_equation_can_fail() {
        assert_eq!(breaches(|_, _, _| {}), Vec::<String>::new());
        let lost = |counter: &AtomicU64| _ = counter.fetch_sub(1, Relaxed);
        assert_eq!(breaches(|sink, _, _| lost(&sink.held)), ["sink s: 10 samples in, 9 known"]);
        assert_eq!(breaches(|sink, _, _| lost(&sink.processed)).len(), 1);
        assert_eq!(
            breaches(|_, transformer, _| lost(&transformer.absorbed)),
            ["s/t: 6 rows in, 5 known"]
        );
        assert_eq!(breaches(|_, _, one| lost(&one.held)), ["s/p: 4 encoded, 3 known"]);
    }
}
