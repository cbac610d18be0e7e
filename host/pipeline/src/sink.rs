//! One sink: reads the journal at its own offset, runs batches through its chain and publishes the
//! output.
//!
//! A batch leaves the journal only after its output is acknowledged or persisted and the state
//! after it is saved. A sink waits for its own publishers and transformers, never for another sink.

use std::collections::BTreeMap;
use std::mem;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until};

use super::applied_actions;
use super::drained_sink::DrainedSink;
use super::fanout::PublisherFanout;
use super::guard_run::GuardedBatch;
use super::handle::{Inbox, SinkEvent, SinkHandle, SinkState, handle};
use super::quarantine::Quarantine;
use super::revision::{ChainRevision, Snapshot};
use super::rollback::RollbackCandidate;
use crate::publish::Backoff;
use crate::transform::{AppliedAction, BatchLog, Chain, JournaledBatch, SampleList};
use nephometer_model::{Batch, Offset};
use nephometer_store::{DeadLetters, JournalEntry, JournalReader, Persistence, SavedChain};
use nephometer_telemetry::{SinkCount, events};
use nephometer_wasm::GuestThreads;

/// Delay before a pending batch is tried again.
const RETRY_BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
/// How often an idle sink checks whether its state can be saved, and makes durable what was written
/// lazily: a kill repeats what was acknowledged since then.
const IDLE_CHECK: Duration = Duration::from_secs(1);
/// Least time between two saves to disk. It bounds, to seconds, what a restart has to process again
/// and what the journal has to keep for it.
const SAVE_INTERVAL: Duration = Duration::from_secs(10);
/// Time in which publishers may acknowledge a batch before its envelopes are written to disk.
const WRITE_DELAY: Duration = Duration::from_millis(200);
/// Bounds of the catch-up log: samples, bytes, and batches, because many may have no samples.
const CATCH_UP_SAMPLES: usize = 200_000;
const CATCH_UP_BYTES: usize = 64 << 20;
const CATCH_UP_BATCHES: usize = 5_000;

/// What a [`Sink`] is built from.
pub struct SinkParts {
    /// Name in `pipeline.yaml`.
    pub name: Arc<str>,
    /// Its reader of the journal.
    pub journal: JournalReader,
    /// Its transformers, if they are built already.
    pub revision: Option<ChainRevision>,
    /// Its publishers.
    pub fanout: PublisherFanout,
    /// Its counters.
    pub count: Arc<SinkCount>,
    /// Where samples go that a transformer failed on.
    pub dead_letters: DeadLetters,
    /// Receives the events that the sink raises on its own.
    pub sink_events: mpsc::Sender<SinkEvent>,
    /// Threads that run chains. `None`: they run in the task of the sink.
    pub guest_threads: Option<GuestThreads>,
}

/// A sink: an offset in the journal, a chain, and publishers.
pub struct Sink {
    pub(super) name: Arc<str>,
    pub(super) journal: JournalReader,
    pub(super) revision: Option<ChainRevision>,
    pub(super) fanout: PublisherFanout,
    pub(super) count: Arc<SinkCount>,
    pub(super) dead_letters: DeadLetters,
    pub(super) sink_events: mpsc::Sender<SinkEvent>,
    pub(super) guest_threads: Option<GuestThreads>,
    pub(super) inbox: Inbox,
    /// The saved state and the batches since, while there is no revision.
    pub(super) snapshot: Snapshot,
    /// Failure actions of an earlier run, by the offset of their batch.
    persisted_actions: BTreeMap<Offset, Vec<u8>>,
    /// Offset of the last processed batch.
    pub(super) offset: Offset,
    /// Batches since the last snapshot, for the revision that starts from it.
    pub(super) catch_up_log: Option<BatchLog>,
    pub(super) rollback_candidate: Option<RollbackCandidate>,
    /// One per transformer of the revision.
    pub(super) quarantine: Vec<Quarantine>,
    /// State to be written once all output up to its offset is emitted.
    pub(super) pending_save: Option<SavedChain>,
    saved: Offset,
    last_save: Instant,
    /// When output that is neither acknowledged nor on disk has to be written, if there is any.
    write_at: Option<Instant>,
    /// The journal will be closed: do not wait for failing transformers.
    pub(super) ending: bool,
    pub(super) ended: bool,
}

impl Sink {
    /// Builds a sink that is not running yet, and its handle.
    pub fn new(parts: SinkParts) -> (Self, SinkHandle) {
        let SinkParts { name, journal, revision, fanout, count, dead_letters, .. } = parts;
        let SinkParts { sink_events, guest_threads, .. } = parts;
        let state = match &revision {
            Some(_) => SinkState::Running,
            None => SinkState::Preparing,
        };
        let (handle, inbox) = handle(state);
        let sink = Self {
            name,
            journal,
            revision,
            fanout,
            count,
            dead_letters,
            sink_events,
            guest_threads,
            inbox,
            snapshot: Snapshot::default(),
            persisted_actions: BTreeMap::new(),
            offset: 0,
            catch_up_log: None,
            rollback_candidate: None,
            quarantine: Vec::new(),
            pending_save: None,
            saved: 0,
            last_save: Instant::now(),
            write_at: None,
            ending: false,
            ended: false,
        };
        (sink, handle)
    }

    /// Name in `pipeline.yaml`.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Processes the journal until it is closed and read to its end, or until the sink is shut
    /// down.
    pub async fn run(mut self) -> DrainedSink {
        self.restore().await;
        let mut idle_check = idle_checks();
        while !self.ended {
            tokio::select! {
                biased;
                Some(command) = self.inbox.commands.recv() => self.handle_command(command).await,
                () = sleep_until(self.write_at.unwrap_or_else(Instant::now)),
                    if self.write_at.is_some() => self.write_pending().await,
                entry = self.journal.next(), if self.revision.is_some() => match entry {
                    Some(entry) => self.process(entry).await,
                    None => break,
                },
                _ = idle_check.tick() => {
                    self.journal.sync().await;
                    self.follow_guard().await;
                }
            }
            self.save_progress().await;
        }
        self.drain().await
    }

    /// Restores the saved state, and processes again what was emitted after it was saved.
    async fn restore(&mut self) {
        let resume = self.journal.resume();
        let saved = resume.saved.unwrap_or_default();
        self.persisted_actions = resume.notes;
        self.saved = saved.offset;
        self.offset = saved.offset;
        self.journal.rewind(saved.offset);
        let mut batches = Vec::new();
        while let Some(entry) = self.journal.try_next().await {
            if entry.offset > resume.emitted {
                break;
            }
            batches.push(self.journaled_batch(&entry));
            self.offset = entry.offset;
            self.journal.advance();
        }
        if !batches.is_empty() {
            events::pipeline::resumed(&self.name, saved.offset, batches.len());
        }
        self.snapshot = Snapshot::saved(saved, batches);
        if let Some(mut revision) = self.revision.take() {
            let snapshot = mem::take(&mut self.snapshot);
            let state_only = Snapshot { batches: Vec::new(), ..snapshot.clone() };
            let restored = match revision.restore(&state_only).await {
                Ok(()) => revision.process_missing_or_skip(snapshot.batches.clone()).await,
                Err(error) => Err(error),
            };
            match restored {
                Ok(()) => self.adopt(revision),
                Err(error) => {
                    self.snapshot = snapshot;
                    self.wait_for_transformers(&error.to_string());
                }
            }
        }
    }

    fn journaled_batch(&mut self, entry: &JournalEntry) -> JournaledBatch {
        let persisted = self.persisted_actions.remove(&entry.offset);
        let actions = persisted.map_or_else(Vec::new, |bytes| applied_actions::decode(&bytes));
        JournaledBatch::new(entry.offset, &entry.batch, &actions)
    }

    /// Makes this revision the running one.
    pub(super) fn adopt(&mut self, revision: ChainRevision) {
        self.quarantine = (0..revision.on_error.len()).map(|_| Quarantine::default()).collect();
        let transformers = revision.chain.identities();
        self.revision = Some(revision);
        self.snapshot = Snapshot::default();
        self.inbox.status.send_modify(|status| {
            status.transformers = transformers;
            status.state = SinkState::Running;
        });
    }

    pub(super) fn wait_for_transformers(&self, reason: &str) {
        events::pipeline::sink_held(&self.name, reason);
        self.set_state(SinkState::Waiting(reason.to_owned()));
    }

    pub(super) fn set_state(&self, state: SinkState) {
        self.inbox.status.send_if_modified(|status| {
            let changed = status.state != state;
            status.state = state;
            changed
        });
    }

    /// Processes one batch, and retries it until it succeeds or a failure action applies.
    async fn process(&mut self, entry: JournalEntry) {
        self.follow_guard().await;
        let mut batch = self.journaled_batch(&entry);
        let mut retries = 0;
        let mut actions: Vec<AppliedAction> = self.actions_in_quarantine();
        for action in &actions {
            batch = batch.with_action(*action);
        }
        loop {
            let Some(revision) = self.revision.take() else { return };
            let (revision, processed) =
                revision.process(batch.clone(), self.guest_threads.as_ref()).await;
            self.revision = Some(revision);
            let error = match processed {
                Ok(lists) => {
                    self.write_dead_letters(&entry).await;
                    let guarded = self.guarded(&batch, &lists);
                    self.publish(entry.offset, &entry.batch, lists, Persistence::Deferred).await;
                    return self.advance(&entry, (batch, guarded), actions.is_empty());
                }
                Err(error) => error,
            };
            if self.roll_back(&error.component, &error.reason).await {
                continue;
            }
            match self.choose_action(&entry, &error, &mut actions).await {
                Some(action) => batch = batch.with_action(action),
                None => {
                    retries += 1;
                    self.wait_for_retry(RETRY_BACKOFF.delay(retries, spread(&entry.batch))).await;
                    if self.ended {
                        return;
                    }
                }
            }
        }
    }

    /// Publishes the output of a batch, which may be empty, with the counters of the transformers.
    pub(super) async fn publish(
        &mut self,
        offset: Offset,
        batch: &Batch,
        lists: Vec<SampleList>,
        persistence: Persistence,
    ) {
        let chain = self.revision.as_ref().map(|revision| &revision.chain);
        let accounts = chain.map_or_else(Vec::new, Chain::accounts);
        let transformers = chain.map_or_else(Vec::new, Chain::identities);
        self.journal.record_counts(offset, accounts);
        for dropped in self.journal.take_dropped() {
            self.fanout.declare(&dropped).await;
        }
        let (origin, output) = ((offset, batch), (lists, &*transformers));
        let publishing = self.fanout.publish(&self.journal, origin, output, persistence);
        match publishing.await {
            Some(false) if self.journal.is_durable() => {
                self.write_at.get_or_insert_with(|| Instant::now() + WRITE_DELAY);
            }
            Some(_) => self.write_at = None,
            None => {}
        }
    }

    /// Writes output that is neither acknowledged nor on disk. While the disk fails, it is tried again
    /// from time to time.
    pub(super) async fn write_pending(&mut self) {
        let written = self.fanout.write_pending(&self.journal, self.offset).await;
        self.write_at = (!written).then(|| Instant::now() + IDLE_CHECK);
    }

    /// Moves behind a processed batch. `clean` if no failure action was applied to it.
    fn advance(
        &mut self,
        entry: &JournalEntry,
        (batch, guarded): (JournaledBatch, Option<GuardedBatch>),
        clean: bool,
    ) {
        self.count.processed.fetch_add(entry.batch.samples.len() as u64, Relaxed);
        self.offset = entry.offset;
        self.journal.advance();
        if let Some(candidate) = &mut self.rollback_candidate
            && !candidate.record(batch.clone(), guarded)
        {
            self.end_guard("its batches are too many to keep");
            self.rollback_candidate = None;
        }
        if let Some(log) = &mut self.catch_up_log {
            log.push(batch);
            if log.samples() > CATCH_UP_SAMPLES
                || log.bytes() > CATCH_UP_BYTES
                || log.batches().len() > CATCH_UP_BATCHES
            {
                self.catch_up_log = None;
            }
        }
        if clean {
            self.quarantine.iter_mut().for_each(Quarantine::record_success);
            if self.inbox.status.borrow().state != SinkState::Running {
                events::pipeline::components_recovered(&self.name);
                self.set_state(SinkState::Running);
            }
        }
    }

    /// Waits before a retry, and handles commands meanwhile: a takeover ends the wait.
    async fn wait_for_retry(&mut self, delay: Duration) {
        self.ended |= self.ending;
        if self.write_at.is_some() {
            self.write_pending().await;
        }
        let elapsed = tokio::time::sleep(delay);
        tokio::pin!(elapsed);
        let reloads = self.inbox.status.borrow().reloads;
        while !self.ended && self.inbox.status.borrow().reloads == reloads {
            tokio::select! {
                biased;
                Some(command) = self.inbox.commands.recv() => {
                    self.handle_command(command).await;
                    self.ended |= self.ending;
                }
                () = &mut elapsed => return,
            }
        }
    }

    /// Moves the emitted offset, writes the state if it is due, and updates the status.
    async fn save_progress(&mut self) {
        let emitted = self.journal.advance_emitted(self.fanout.emitted_offset(self.offset));
        if let Some(revision) = &self.revision
            && self.pending_save.is_none()
            && revision.chain.saved_at() > self.saved
            && self.last_save.elapsed() >= SAVE_INTERVAL
        {
            self.pending_save = Some(revision.to_save());
        }
        if let Some(chain) = self.pending_save.take_if(|pending| pending.offset <= emitted) {
            self.last_save = Instant::now();
            let offset = chain.offset;
            events::pipeline::state_save_started(&self.name, offset);
            match self.journal.save(chain).await {
                Ok(()) => {
                    self.saved = offset;
                    events::pipeline::state_saved(&self.name, offset);
                }
                Err(error) => events::store::write_failed(&error),
            }
        }
        let current = (self.offset, emitted, self.saved, self.rollback_candidate.is_some());
        self.inbox.status.send_if_modified(|status| {
            let reported = (status.offset, status.emitted, status.saved, status.can_roll_back);
            (status.offset, status.emitted, status.saved, status.can_roll_back) = current;
            current != reported
        });
    }

    /// Takes the last state to save, and drops the publishers' handles.
    async fn drain(mut self) -> DrainedSink {
        if let Some(revision) = &mut self.revision
            && revision.chain.offset() > self.saved
            && revision.chain.save_if_consistent().await
        {
            self.pending_save = Some(revision.to_save());
        }
        DrainedSink {
            journal: self.journal,
            unwritten: self.fanout.close(),
            offset: self.offset,
            pending_save: self.pending_save,
            name: self.name,
        }
    }
}

/// Ticks of the idle check, at the same moments for all sinks: an idle agent wakes up once for all of
/// them, and one of them makes durable what all have written.
fn idle_checks() -> Interval {
    static BEGIN: LazyLock<std::time::Instant> = LazyLock::new(std::time::Instant::now);
    let into_period = BEGIN.elapsed().as_secs_f64() % IDLE_CHECK.as_secs_f64();
    let first = Instant::now() + IDLE_CHECK - Duration::from_secs_f64(into_period);
    let mut checks = interval_at(first, IDLE_CHECK);
    checks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    checks
}

/// A number that differs between batches, so that sinks that fail together do not retry together.
pub(super) fn spread(batch: &Batch) -> u16 {
    let id = batch.samples.first().map_or([0; 16], |sample| sample.id.into_bytes());
    u16::from_be_bytes([id[0], id[1]])
}

#[cfg(test)]
#[path = "sink_tests.rs"]
mod tests;
