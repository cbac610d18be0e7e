//! The ledger: all counters of one agent, and the delivery law that they must satisfy.
//!
//! Everything that came in was passed on, absorbed or dropped, or is still pending. `run` prints the
//! ledger at its end and fails if a number is not accounted for.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::account::Account;
use super::counts::{PublisherCount, SinkCount, TransformerCount};
use super::polling::PollingStats;
use super::task_cpu::TaskTimes;

/// The key in the store of the account of the agent's own counters.
const AGENT: &str = "agent";

/// One sink with its transformers and publishers.
#[derive(Debug, Clone)]
pub struct LedgerSink {
    /// Its name.
    pub name: Arc<str>,
    /// Its own counters.
    pub count: Arc<SinkCount>,
    /// Its transformers by component name, in order.
    pub transformers: Vec<(Arc<str>, Arc<TransformerCount>)>,
    /// Its publishers by label, in order.
    pub publishers: Vec<(Arc<str>, Arc<PublisherCount>)>,
}

/// All counters of one agent.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Stored accounts of an earlier run by key, until their counters are created.
    stored: Mutex<HashMap<String, Account>>,
    /// A reload adds entries; those of removed sinks, transformers and publishers stay, with their
    /// counts. The lock is only held for a look-up or an insertion.
    sinks: Mutex<Vec<LedgerSink>>,
    /// Samples made from readings.
    pub polled: Arc<AtomicU64>,
    /// Polling cycles that were skipped because the one before took longer than the interval.
    pub cycles_skipped: Arc<AtomicU64>,
    /// Domain readings that failed in a polling cycle.
    pub missing: Arc<AtomicU64>,
    /// Values that a configured meter needs and libvirt did not report.
    pub absent: Arc<AtomicU64>,
    /// Cycles and batches since the start. Not stored.
    pub polling: Arc<PollingStats>,
    /// The processor time of tasks since the start. Not stored.
    pub tasks: TaskTimes,
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, Vec<LedgerSink>> {
        // No code under the lock panics half-way, so a poisoned list is still consistent.
        self.sinks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The account of the agent's own counters with its key, for `polled` samples.
    pub fn account(&self, polled: u64) -> (String, Account) {
        let numbers = [&self.cycles_skipped, &self.missing, &self.absent];
        let numbers = numbers.map(|number| number.load(Relaxed));
        (AGENT.to_owned(), Account::from([&[polled], &numbers[..]].concat()))
    }

    /// The counters of a sink. New ones are listed in the order of their creation.
    pub fn sink(&self, name: &Arc<str>) -> Arc<SinkCount> {
        let mut sinks = self.lock();
        if let Some(sink) = sinks.iter().find(|sink| sink.name == *name) {
            return Arc::clone(&sink.count);
        }
        let count = Arc::new(SinkCount::default());
        sinks.push(LedgerSink {
            name: Arc::clone(name),
            count: Arc::clone(&count),
            transformers: Vec::new(),
            publishers: Vec::new(),
        });
        count
    }

    /// The counters of a sink's `nth` transformer of this name, from 0. New ones begin with
    /// the stored account of an earlier run.
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
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = stored.remove(&TransformerCount::name(sink, component, nth)) {
            count.restore(&account);
        }
        count
    }

    /// Continues from the stored accounts of an earlier run, by key.
    pub fn restore(&self, accounts: impl IntoIterator<Item = (String, Account)>) {
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        stored.extend(accounts);
        if let Some(account) = stored.remove(AGENT) {
            let numbers = [&self.polled, &self.cycles_skipped, &self.missing, &self.absent];
            for (nth, number) in numbers.into_iter().enumerate() {
                number.fetch_add(account.number(nth), Relaxed);
            }
        }
    }

    /// The counters of a sink's publisher. `label` contains no secret and is
    /// unique in its sink.
    pub fn publisher(&self, sink: &str, label: &Arc<str>) -> Arc<PublisherCount> {
        let mut sinks = self.lock();
        let Some(sink) = sinks.iter_mut().find(|entry| &*entry.name == sink) else {
            return Arc::default();
        };
        entry(&mut sink.publishers, label, 0)
    }

    /// All sinks with their counters, in the order of their creation.
    pub fn sinks(&self) -> Vec<LedgerSink> {
        self.lock().clone()
    }

    /// Samples pending in journals, and envelopes pending in spools.
    pub fn pending(&self) -> (u64, u64) {
        let mut pending = (0, 0);
        for sink in self.lock().iter() {
            pending.0 += sink.count.pending.load(Relaxed);
            pending.1 +=
                sink.publishers.iter().map(|(_, count)| count.pending.load(Relaxed)).sum::<u64>();
        }
        pending
    }

    /// Violations of the delivery law, one text for each; empty if it holds. Only meaningful while
    /// no batch is being processed.
    pub fn breaches(&self) -> Vec<String> {
        let mut breaches = Vec::new();
        let mut check = |part: String, counted: u64, unit: &str, known: u64| {
            if counted != known {
                breaches.push(format!("{part}: {counted} {unit}, {known} accounted for"));
            }
        };
        for sink in self.lock().iter() {
            let LedgerSink { name: sink, count, transformers, publishers } = sink;
            let known =
                count.processed.load(Relaxed) + count.dropped.total() + count.pending.load(Relaxed);
            check(format!("sink {sink}"), count.entered.load(Relaxed), "samples in", known);
            for (name, count) in transformers {
                let known = count.passed.load(Relaxed)
                    + count.absorbed.load(Relaxed)
                    + count.dropped.total();
                check(
                    format!("{sink}/{name}"),
                    count.samples_in.load(Relaxed),
                    "samples in",
                    known,
                );
            }
            for (label, count) in publishers {
                let known = count.confirmed.load(Relaxed)
                    + count.dropped.total()
                    + count.pending.load(Relaxed);
                let encoded = count.encoded.load(Relaxed);
                check(format!("{sink}/{label}"), encoded, "envelopes encoded", known);
            }
        }
        breaches
    }
}

/// The `nth` entry of this name, created if it is missing.
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
            "ledger: {} samples polled, {} cycles skipped, {} domain readings missing, {} values absent",
            self.polled.load(Relaxed),
            self.cycles_skipped.load(Relaxed),
            self.missing.load(Relaxed),
            self.absent.load(Relaxed)
        )?;
        for sink in self.lock().iter() {
            writeln!(
                f,
                "  sink {}: {} samples in = {} processed + {} + {} pending",
                sink.name,
                sink.count.entered.load(Relaxed),
                sink.count.processed.load(Relaxed),
                sink.count.dropped,
                sink.count.pending.load(Relaxed)
            )?;
            for (name, transformer) in &sink.transformers {
                let passed = transformer.passed.load(Relaxed);
                let created = transformer.created.load(Relaxed);
                writeln!(
                    f,
                    "    {name}: {} samples in = {passed} passed + {} absorbed + {}; {} samples out = {passed} passed + {created} created",
                    transformer.samples_in.load(Relaxed),
                    transformer.absorbed.load(Relaxed),
                    transformer.dropped,
                    passed + created
                )?;
            }
            for (label, publisher) in &sink.publishers {
                writeln!(
                    f,
                    "    {label}: {} samples in {} envelopes = {} confirmed + {} + {} pending",
                    publisher.samples.load(Relaxed),
                    publisher.encoded.load(Relaxed),
                    publisher.confirmed.load(Relaxed),
                    publisher.dropped,
                    publisher.pending.load(Relaxed)
                )?;
                // Dropped samples by meter.
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
        set(&sink.pending, 3);
        set(&transformer.samples_in, 6);
        set(&transformer.passed, 3);
        set(&transformer.absorbed, 2);
        transformer.dropped.add(Dropped::Rejected, 1);
        set(&publisher.encoded, 4);
        set(&publisher.confirmed, 2);
        publisher.dropped.add(Dropped::SpoolFull, 1);
        set(&publisher.pending, 1);
        break_it(&sink, &transformer, &publisher);
        ledger.breaches()
    }

    // Pending and absorbed samples were once derived from the others, so their equations could not fail.
    #[test]
    fn each_equation_can_fail() {
        assert_eq!(breaches(|_, _, _| {}), Vec::<String>::new());
        let lost = |counter: &AtomicU64| _ = counter.fetch_sub(1, Relaxed);
        assert_eq!(
            breaches(|sink, _, _| lost(&sink.pending)),
            ["sink s: 10 samples in, 9 accounted for"]
        );
        assert_eq!(breaches(|sink, _, _| lost(&sink.processed)).len(), 1);
        assert_eq!(
            breaches(|_, transformer, _| lost(&transformer.absorbed)),
            ["s/t: 6 samples in, 5 accounted for"]
        );
        assert_eq!(
            breaches(|_, _, one| lost(&one.pending)),
            ["s/p: 4 envelopes encoded, 3 accounted for"]
        );
    }
}
