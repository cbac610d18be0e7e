//! The state of the view, what fills it, and what it answers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::domains::DomainTable;
use super::values::ValueTable;
use nephometer_model::{Batch, Gap, Polled, Sample};

/// Batches that wait to be read: a few cycles of a few sources.
const WAITING: usize = 32;
/// Samples that are read under one lock and without a pause.
const AT_ONCE: usize = 2048;

/// A batch as it is offered.
struct Offered {
    batch: Arc<Batch>,
    whole: bool,
    gaps: Vec<Gap>,
}

/// Where the router offers batches.
pub struct ViewFeed {
    sender: mpsc::Sender<Offered>,
    missed: Arc<AtomicU64>,
}

impl ViewFeed {
    /// Offers a batch. Never waits: one that does not fit is counted as missed.
    pub fn offer(&self, polled: &Polled) {
        let Polled { batch, whole, gaps } = polled;
        let offered = Offered { batch: Arc::clone(batch), whole: *whole, gaps: gaps.clone() };
        if self.sender.try_send(offered).is_err() {
            self.missed.fetch_add(1, Relaxed);
        }
    }
}

/// What is remembered of the guests.
#[derive(Default)]
struct Remembered {
    domains: DomainTable,
    values: ValueTable,
}

/// What the page shows of guests.
pub struct View {
    remembered: Mutex<Remembered>,
    offered: Mutex<Option<mpsc::Receiver<Offered>>>,
    missed: Arc<AtomicU64>,
}

impl View {
    /// A view that has seen nothing, and what fills it.
    pub fn with_feed() -> (Arc<Self>, ViewFeed) {
        let (sender, receiver) = mpsc::channel(WAITING);
        let missed = Arc::new(AtomicU64::new(0));
        let view = Self {
            remembered: Mutex::default(),
            offered: Mutex::new(Some(receiver)),
            missed: Arc::clone(&missed),
        };
        (Arc::new(view), ViewFeed { sender, missed })
    }

    /// Reads batches until it is dropped. Only the first call does anything.
    pub async fn run(self: Arc<Self>) {
        let receiver = self.offered.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut receiver) = receiver {
            while let Some(offered) = receiver.recv().await {
                self.add(&offered).await;
            }
        }
        std::future::pending::<()>().await;
    }

    async fn add(&self, offered: &Offered) {
        let Offered { batch, whole, gaps } = offered;
        for samples in batch.samples.chunks(AT_ONCE) {
            self.add_samples(&batch.source, samples, *whole);
            tokio::task::yield_now().await;
        }
        if *whole {
            let mut remembered = self.lock();
            remembered.domains.add_gaps(&batch.source, gaps, batch.cycle_start.wall);
            remembered.domains.end_cycle(&batch.source);
            remembered.values.end_cycle(batch.cycle_start.wall);
        }
    }

    fn add_samples(&self, source: &Arc<str>, samples: &[Sample], whole: bool) {
        let mut remembered = self.lock();
        for sample in samples {
            // What is known of a domain changes with cycles only: a stop is seen by the next one.
            if whole {
                remembered.domains.add_sample(source, sample);
            }
            remembered.values.add(sample);
        }
    }

    /// Forgets domains of other sources than these.
    pub fn retain_sources(&self, sources: &[&str]) {
        self.lock().domains.retain_sources(sources);
    }

    /// Domains by state, those with missing values (at most `most`), and a number that changes with any
    /// of it.
    pub fn summary(&self, most: usize) -> Value {
        let remembered = self.lock();
        let mut summary = remembered.domains.summary(most);
        summary["batches_missed"] = json!(self.missed.load(Relaxed));
        summary
    }

    /// Domains whose name, id or project contains `text`, by name: at most `most`, and how many there are.
    pub fn domains(&self, text: &str, most: usize) -> Value {
        self.lock().domains.list(text, most)
    }

    /// The names of domains by their ids, as far as they are known.
    pub fn names(&self) -> HashMap<String, String> {
        self.lock().domains.names()
    }

    /// The series of one domain, with their newest values.
    pub fn series(&self, domain: &str) -> Value {
        self.lock().values.series(domain)
    }

    /// The last values of a meter of a resource: seconds since the epoch and values, oldest first.
    pub fn values(&self, meter: &str, resource: &str) -> Value {
        self.lock().values.points(meter, resource)
    }

    fn lock(&self) -> MutexGuard<'_, Remembered> {
        // No code under the lock panics half-way.
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
