//! Commits what arrives in groups, on a thread of its own.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nephometer_config::CommitSpec;
use nephometer_model::{Bound, Timestamp};
use nephometer_telemetry::events::collector as events;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::message::{Arrival, ReadMessage, RefusedSample};
use crate::sample::{Measurement, Shared};
use crate::signature::{SharedVerifier, Verifier};
use crate::store::{Committed, DeadLetter, Group, ServerState, Storage, WriteRule};

/// Messages between those who hand over and the writer.
const DEPTH: usize = 64;
/// The unit of the bytes that are handed over and not committed.
const UNIT: usize = 1 << 10;
/// A commit begins when nothing has arrived for this long: all that brokers may deliver is here.
const IDLE: Duration = Duration::from_millis(50);
/// Pause between attempts while the store fails.
const PAUSE: Duration = Duration::from_secs(1);
/// How often sums are counted again and old months are looked for.
const MAINTENANCE: Duration = Duration::from_secs(10);

/// A message on its way to the writer.
struct Handed {
    read: Result<ReadMessage, DeadLetter>,
    bytes: usize,
    rule: WriteRule,
    done: oneshot::Sender<()>,
    /// Its part of the bytes that may be handed over.
    share: Option<OwnedSemaphorePermit>,
}

/// Fulfilled when the message is committed; fails if the collector ends before.
pub(crate) type Receipt = oneshot::Receiver<()>;

/// What is known of the store without asking it.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// Why the store fails; empty while it works.
    failure: Mutex<String>,
    /// What the last reload did not apply; empty if it applied all.
    reload: Mutex<String>,
    pub(crate) commits: AtomicU64,
    pub(crate) stored: AtomicU64,
    pub(crate) duplicates: AtomicU64,
    pub(crate) letters: AtomicU64,
    pub(crate) refused: Mutex<std::collections::BTreeMap<&'static str, u64>>,
    /// Brokers by label, and whether they are connected.
    brokers: Mutex<std::collections::BTreeMap<String, bool>>,
    /// The servers of the store.
    servers: Mutex<Vec<ServerState>>,
    /// Messages by receiver.
    received: Mutex<std::collections::BTreeMap<String, u64>>,
}

impl Health {
    /// Why the store fails; `None` while it works.
    pub(crate) fn failure(&self) -> Option<String> {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        (!failure.is_empty()).then(|| failure.clone())
    }

    pub(crate) fn set_broker(&self, label: &str, connected: bool) {
        let mut brokers = self.brokers.lock().unwrap_or_else(PoisonError::into_inner);
        brokers.insert(label.to_owned(), connected);
    }

    /// Nothing is consumed at this address any more.
    pub(crate) fn forget_broker(&self, label: &str) {
        self.brokers.lock().unwrap_or_else(PoisonError::into_inner).remove(label);
    }

    pub(crate) fn set_reload_problems(&self, text: String) {
        *self.reload.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }

    pub(crate) fn brokers(&self) -> Vec<(String, bool)> {
        let brokers = self.brokers.lock().unwrap_or_else(PoisonError::into_inner);
        brokers.iter().map(|(label, connected)| (label.clone(), *connected)).collect()
    }

    fn set_servers(&self, servers: Vec<ServerState>) {
        *self.servers.lock().unwrap_or_else(PoisonError::into_inner) = servers;
    }

    /// The servers of the store; none for files.
    pub(crate) fn servers(&self) -> Vec<ServerState> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts messages of a receiver.
    pub(crate) fn count_received(&self, receiver: &str, messages: u64) {
        let mut received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        *received.entry(receiver.to_owned()).or_default() += messages;
    }

    pub(crate) fn received(&self) -> std::collections::BTreeMap<String, u64> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The state in one line: `ok`, or what fails.
    pub(crate) fn line(&self) -> String {
        let store = self.failure().map(|failure| format!("store: {failure}"));
        let lost = self.brokers().into_iter().filter(|(_, connected)| !connected);
        let lost = lost.map(|(broker, _)| format!("not connected to {broker}"));
        let reload = self.reload.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = format!("the last reload was refused in part: {reload}");
        let refused = (!reload.is_empty()).then_some(refused);
        let failing: Vec<String> = store.into_iter().chain(lost).chain(refused).collect();
        if failing.is_empty() {
            return "ok".to_owned();
        }
        // Errors may have several lines.
        format!("degraded: {}", failing.join("; ").replace(['\n', '\r'], " "))
    }

    fn set_failure(&self, text: String) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }

    fn count(&self, committed: &Committed) {
        self.commits.fetch_add(1, Relaxed);
        self.stored.fetch_add(committed.stored, Relaxed);
        self.duplicates.fetch_add(committed.duplicates, Relaxed);
        self.letters.fetch_add(committed.letters, Relaxed);
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, count) in &committed.refused {
            *refused.entry(name).or_default() += count;
        }
    }
}

/// Hands messages to the writer.
#[derive(Clone)]
pub(crate) struct Handover {
    sender: mpsc::Sender<Handed>,
    verifier: SharedVerifier,
    /// Bytes that may be handed over, in units. Messages stay here when their connection has ended,
    /// so that the bounds of connections are not enough.
    bytes: Arc<Semaphore>,
}

/// The units of this many bytes; at most all units.
fn units(bytes: usize) -> u32 {
    let all = Bound::Unacknowledged.size() / UNIT;
    u32::try_from(bytes.div_ceil(UNIT).min(all)).unwrap_or(u32::MAX)
}

impl Handover {
    /// For clients of the API.
    pub(crate) fn for_posts(&self) -> PostHandover {
        PostHandover(self.sender.downgrade())
    }

    /// Reads and checks a message and hands it over. Waits while the writer is behind. `None` if the
    /// collector is ending.
    pub(crate) async fn hand(&self, arrival: Arrival) -> Option<Receipt> {
        let share = Arc::clone(&self.bytes).acquire_many_owned(units(arrival.body.len()));
        let share = share.await.ok()?;
        let verifier = self.verifier.now();
        let reading = tokio::task::spawn_blocking(move || (read(arrival, &verifier), share));
        let (done, receipt) = oneshot::channel();
        let ((read, bytes), share) = reading.await.ok()?;
        let rule = WriteRule::InWindow;
        let handed = Handed { read, bytes, rule, done, share: Some(share) };
        self.sender.send(handed).await.ok()?;
        Some(receipt)
    }
}

impl Handover {
    /// Hands over that a sample was not read.
    pub(crate) async fn refuse(&self, origin: Shared, refused: RefusedSample) -> Option<Receipt> {
        events::sample_refused(&origin, refused.refusal.as_str(), &refused.detail);
        let read = Ok(ReadMessage::refused(origin, refused));
        let (done, receipt) = oneshot::channel();
        let handed = Handed { read, bytes: 0, rule: WriteRule::InWindow, done, share: None };
        self.sender.send(handed).await.ok()?;
        Some(receipt)
    }
}

/// Hands samples of clients of the API over. It does not keep the writer from ending.
#[derive(Clone)]
pub(crate) struct PostHandover(mpsc::WeakSender<Handed>);

impl PostHandover {
    /// Hands samples over whose sender's rights were checked. Blocks while the writer is behind.
    pub(crate) fn post(&self, samples: Vec<Measurement>) -> Option<Receipt> {
        let (done, receipt) = oneshot::channel();
        let read = Ok(ReadMessage::posted(samples));
        let handed = Handed { read, bytes: 0, rule: WriteRule::InWindow, done, share: None };
        self.0.upgrade()?.blocking_send(handed).ok()?;
        Some(receipt)
    }
}

/// Reads a message, or makes a dead letter of it.
pub(crate) fn read(
    arrival: Arrival,
    verifier: &Verifier,
) -> (Result<ReadMessage, DeadLetter>, usize) {
    let bytes = arrival.body.len();
    let read = match ReadMessage::read(&arrival, verifier) {
        Ok(message) => {
            for refused in &message.refused {
                let (reason, sample) = (refused.refusal.as_str(), &refused.detail);
                events::sample_refused(&message.origin, reason, sample);
            }
            Ok(message)
        }
        Err(reason) => {
            events::message_malformed(&arrival.origin, &reason, bytes);
            let Arrival { origin, body, place } = arrival;
            Err(DeadLetter { origin, body, place, reason })
        }
    };
    (read, bytes)
}

/// The writer and its thread.
pub(crate) struct Writer {
    thread: std::thread::JoinHandle<()>,
    ending: Arc<AtomicBool>,
}

impl Writer {
    /// Starts the thread.
    pub(crate) fn start(
        store: Box<dyn Storage>,
        commit: CommitSpec,
        verifier: SharedVerifier,
        health: Arc<Health>,
    ) -> std::io::Result<(Self, Handover)> {
        let (sender, receiver) = mpsc::channel(DEPTH);
        let ending = Arc::new(AtomicBool::new(false));
        let mut work = Work {
            store,
            commit,
            receiver,
            health,
            ending: Arc::clone(&ending),
            maintained: Instant::now(),
        };
        let thread = std::thread::Builder::new().name("writer".into()).spawn(move || work.run())?;
        let bytes = Arc::new(Semaphore::new(Bound::Unacknowledged.size() / UNIT));
        Ok((Self { thread, ending }, Handover { sender, verifier, bytes }))
    }

    /// Waits until everything that was handed over is committed. All handovers must have been
    /// dropped. While the store fails, what waits is not acknowledged and stays at the broker.
    pub(crate) fn end(self) {
        self.ending.store(true, Relaxed);
        // A panic of the thread was reported by its hook.
        drop(self.thread.join());
    }
}

struct Work {
    store: Box<dyn Storage>,
    commit: CommitSpec,
    receiver: mpsc::Receiver<Handed>,
    health: Arc<Health>,
    ending: Arc<AtomicBool>,
    maintained: Instant,
}

/// What waits for the next commit.
#[derive(Default)]
struct Pending {
    group: Group,
    receipts: Vec<oneshot::Sender<()>>,
    shares: Vec<OwnedSemaphorePermit>,
    rows: usize,
    bytes: usize,
}

impl Pending {
    fn add(&mut self, handed: Handed) {
        self.bytes += handed.bytes;
        self.group.rule = handed.rule;
        match handed.read {
            Ok(message) => {
                self.rows += message.samples.len();
                self.group.messages.push(message);
            }
            Err(letter) => self.group.letters.push(letter),
        }
        self.receipts.push(handed.done);
        self.shares.extend(handed.share);
    }
}

impl Work {
    fn run(&mut self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let Ok(runtime) = runtime else { return events::writer_not_started() };
        loop {
            let until = self.maintained + MAINTENANCE;
            let first = runtime.block_on(async {
                tokio::time::timeout_at(until.into(), self.receiver.recv()).await
            });
            match first {
                Ok(Some(handed)) => {
                    let mut pending = Pending::default();
                    pending.add(handed);
                    runtime.block_on(self.fill(&mut pending));
                    if !self.write(pending) {
                        return;
                    }
                }
                Ok(None) => return,
                Err(_) => {}
            }
            if self.maintained.elapsed() >= MAINTENANCE {
                self.maintain();
            }
        }
    }

    /// Takes more until the group is full or its time is over.
    async fn fill(&mut self, pending: &mut Pending) {
        let until = tokio::time::Instant::now() + self.commit.time;
        while pending.rows < self.commit.rows && pending.bytes < self.commit.bytes {
            let idle = tokio::time::Instant::now() + IDLE;
            match tokio::time::timeout_at(until.min(idle), self.receiver.recv()).await {
                Ok(Some(handed)) => pending.add(handed),
                Ok(None) | Err(_) => break,
            }
        }
    }

    /// Commits a group, however long it takes. False if the collector ends while the store fails.
    fn write(&mut self, pending: Pending) -> bool {
        // Other messages may be handed over when this function ends.
        let Pending { group, receipts, shares: _shares, .. } = pending;
        let started = Instant::now();
        loop {
            let written = self.store.write(&group, now());
            self.health.set_servers(self.store.servers());
            match written {
                Ok(committed) => {
                    self.recovered();
                    self.health.count(&committed);
                    let Committed { stored, duplicates, letters, .. } = committed;
                    events::committed(stored, duplicates, letters, started.elapsed());
                    // Whoever no longer waits has lost its connection, and gets the message again.
                    receipts.into_iter().for_each(|done| _ = done.send(()));
                    return true;
                }
                Err(error) => self.failed(&error),
            }
            if self.ending.load(Relaxed) {
                return false;
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn maintain(&mut self) {
        let maintained = self.store.maintain(now());
        self.health.set_servers(self.store.servers());
        match maintained {
            // There is more: continue after the next group.
            Ok(true) => {}
            Ok(false) => self.maintained = Instant::now(),
            Err(error) => {
                self.failed(&error);
                self.maintained = Instant::now();
                return;
            }
        }
        self.recovered();
    }

    fn failed(&self, error: &crate::store::StoreError) {
        if self.health.failure().is_none() {
            events::store_failed(error);
        }
        self.health.set_failure(error.to_string());
    }

    fn recovered(&self) {
        if self.health.failure().is_some() {
            events::store_recovered();
            self.health.set_failure(String::new());
        }
    }
}

/// The wall clock.
#[expect(clippy::disallowed_methods, reason = "the collector compares samples with the wall clock")]
pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let nanos = since.map_or(0, |since| since.as_nanos());
    Timestamp::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
