use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::applied_actions;
use super::drained_sink::DrainedSink;
use super::emit::Outlet;
use super::handle::{Inbox, SinkEvent, SinkHandle, SinkState, handle};
use super::quarantine::Quarantine;
use super::revision::{ChainRevision, RollbackCandidate, Snapshot};
use crate::publish::{self, Backoff};
use crate::transform::{
    AppliedAction, ChainError, FailureAction, JournaledBatch, SampleList, Window,
};
use nephometer_config::OnError;
use nephometer_model::{Batch, Offset};
use nephometer_store::{DeadLetters, Entry, FailedBatch, JournalReader, SavedChain};
use nephometer_telemetry::{SinkCount, events};
use nephometer_wasm::GuestThreads;

/// How long a held batch waits before it is tried again.
const HOLD: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
/// How often a sink without work looks whether its state can be saved.
const LOOK: Duration = Duration::from_secs(1);
/// How far apart states are written to disk. What a restart has to run again, and the journal has
/// to hold, is a matter of seconds.
const SAVE: Duration = Duration::from_secs(10);
/// Rows that are kept for a generation that is catching up, bytes of them, and events, of which many
/// may be without a row.
const TRAIL_ROWS: usize = 200_000;
const TRAIL_BYTES: usize = 64 << 20;
const TRAIL_EVENTS: usize = 5_000;

/// What a sink is made of.
pub struct SinkParts {
    /// As in `pipeline.yaml`.
    pub name: Arc<str>,
    /// What it has to do.
    pub journal: JournalReader,
    /// Its transformers, if they are ready.
    pub revision: Option<ChainRevision>,
    /// Where it publishes.
    pub outlet: Outlet,
    /// Its counters.
    pub count: Arc<SinkCount>,
    /// Where batches are set aside that a component failed on.
    pub dead_letters: DeadLetters,
    /// Who is told what it decides by itself.
    pub sink_events: mpsc::Sender<SinkEvent>,
    /// Where chains run; `None`: in the task of the sink.
    pub guest_threads: Option<GuestThreads>,
}

/// One sink: a cursor on the journal, its transformers, its publishers.
pub struct Sink {
    pub(super) name: Arc<str>,
    pub(super) journal: JournalReader,
    pub(super) revision: Option<ChainRevision>,
    pub(super) outlet: Outlet,
    pub(super) count: Arc<SinkCount>,
    pub(super) dead_letters: DeadLetters,
    pub(super) sink_events: mpsc::Sender<SinkEvent>,
    guest_threads: Option<GuestThreads>,
    pub(super) inbox: Inbox,
    /// What was saved on disk, while there are no transformers.
    pub(super) snapshot: Snapshot,
    /// Decisions of an earlier run on batches that come again.
    notes: BTreeMap<Offset, Vec<u8>>,
    /// The last batch that was worked on.
    pub(super) offset: Offset,
    /// Batches since somebody asked for a base, for the generation that starts from it.
    pub(super) catch_up_log: Option<Window>,
    pub(super) rollback_candidate: Option<RollbackCandidate>,
    /// Per transformer of the generation.
    pub(super) quarantine: Vec<Quarantine>,
    /// State that can be written once all that led to it has been settled.
    pub(super) pending: Option<SavedChain>,
    saved: Offset,
    last_save: Instant,
    /// Nothing more will come.
    pub(super) ending: bool,
    pub(super) ended: bool,
}

impl Sink {
    /// A sink that has not begun, and what others talk to it with.
    pub fn new(parts: SinkParts) -> (Self, SinkHandle) {
        let SinkParts { name, journal, revision, outlet, count, dead_letters, .. } = parts;
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
            outlet,
            count,
            dead_letters,
            sink_events,
            guest_threads,
            inbox,
            snapshot: Snapshot::default(),
            notes: BTreeMap::new(),
            offset: 0,
            catch_up_log: None,
            rollback_candidate: None,
            quarantine: Vec::new(),
            pending: None,
            saved: 0,
            last_save: Instant::now(),
            ending: false,
            ended: false,
        };
        (sink, handle)
    }

    /// As in `pipeline.yaml`.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Works off the journal until no more can come. A batch leaves the journal only after
    /// everything that it made has been settled by the publishers, and the state that it led to
    /// has been saved.
    pub async fn run(mut self) -> DrainedSink {
        self.begin().await;
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.ended {
            tokio::select! {
                biased;
                Some(command) = self.inbox.commands.recv() => self.handle_command(command).await,
                entry = self.journal.next(), if self.revision.is_some() => match entry {
                    Some(entry) => self.work(entry).await,
                    None => break,
                },
                _ = look.tick() => {}
            }
            self.keep().await;
        }
        self.end().await
    }

    /// Takes up where an earlier run has stopped.
    async fn begin(&mut self) {
        let resume = self.journal.resume();
        let saved = resume.saved.unwrap_or_default();
        self.notes = resume.notes;
        self.saved = saved.offset;
        self.offset = saved.offset;
        self.journal.rewind(saved.offset);
        let mut events = Vec::new();
        while let Some(entry) = self.journal.try_next().await {
            if entry.offset > resume.emitted {
                break;
            }
            events.push(self.event(&entry));
            self.offset = entry.offset;
            self.journal.advance();
        }
        if !events.is_empty() {
            events::pipeline::resumed(&self.name, saved.offset, events.len());
        }
        self.snapshot = Snapshot::saved(saved, events);
        if let Some(mut revision) = self.revision.take() {
            let snapshot = mem::take(&mut self.snapshot);
            let waits = Snapshot { events: Vec::new(), ..snapshot.clone() };
            let caught_up = match revision.catch_up(&waits).await {
                Ok(()) => revision.follow_all(snapshot.events.clone()).await,
                Err(error) => Err(error),
            };
            match caught_up {
                Ok(()) => self.adopt(revision),
                Err(error) => {
                    self.snapshot = snapshot;
                    self.wait_for_transformers(&error.to_string());
                }
            }
        }
    }

    fn event(&mut self, entry: &Entry) -> JournaledBatch {
        let noted = self.notes.remove(&entry.offset);
        let actions = noted.map_or_else(Vec::new, |bytes| applied_actions::decode(&bytes));
        JournaledBatch::new(entry.offset, &entry.batch, &actions)
    }

    /// These are the transformers from now on.
    pub(super) fn adopt(&mut self, revision: ChainRevision) {
        self.quarantine = (0..revision.on_error.len()).map(|_| Quarantine::default()).collect();
        let slots = revision.chain.identities();
        self.revision = Some(revision);
        self.snapshot = Snapshot::default();
        self.inbox.status.send_modify(|status| {
            status.slots = slots;
            status.state = SinkState::Running;
        });
    }

    pub(super) fn wait_for_transformers(&self, reason: &str) {
        events::pipeline::held(&self.name, reason);
        self.set_state(SinkState::Waiting(reason.to_owned()));
    }

    fn set_state(&self, state: SinkState) {
        self.inbox.status.send_if_modified(|status| {
            let changed = status.state != state;
            status.state = state;
            changed
        });
    }

    /// One batch, until it is through or its fate is decided.
    async fn work(&mut self, entry: Entry) {
        let mut event = self.event(&entry);
        let mut waits = 0;
        let mut decided: Vec<AppliedAction> = self.verdicts_in_quarantine();
        for action in &decided {
            event = event.with(*action);
        }
        loop {
            let Some(revision) = self.revision.take() else { return };
            let (revision, processed) =
                revision.process(event.clone(), self.guest_threads.as_ref()).await;
            self.revision = Some(revision);
            let error = match processed {
                Ok(lists) => {
                    self.set_aside(&entry).await;
                    self.emit(entry.offset, &entry.batch, lists).await;
                    return self.done(&entry, event, decided.is_empty());
                }
                Err(error) => error,
            };
            if self.roll_back(&error).await {
                continue;
            }
            match self.decide(&entry, &error, &mut decided).await {
                Some(action) => event = event.with(action),
                None => {
                    waits += 1;
                    self.wait(HOLD.delay(waits, spread(&entry.batch))).await;
                    if self.ended {
                        return;
                    }
                }
            }
        }
    }

    /// Publishes what a batch made, which may be nothing, and what the transformers have counted by
    /// then.
    pub(super) async fn emit(&mut self, offset: Offset, batch: &Batch, lists: Vec<SampleList>) {
        let slots = self.revision.as_ref().map_or_else(Vec::new, |one| one.chain.accounts());
        self.journal.counted(offset, slots);
        self.outlet.emit(&self.journal, offset, batch, lists).await;
    }

    /// A batch is through.
    fn done(&mut self, entry: &Entry, event: JournaledBatch, well: bool) {
        self.count.processed.fetch_add(entry.batch.samples.len() as u64, Relaxed);
        self.offset = entry.offset;
        self.journal.advance();
        if let Some(rollback_candidate) = &mut self.rollback_candidate
            && !rollback_candidate.remember(&event)
        {
            self.rollback_candidate = None;
        }
        if let Some(catch_up_log) = &mut self.catch_up_log {
            catch_up_log.push(event);
            let events = catch_up_log.events().len();
            if catch_up_log.rows() > TRAIL_ROWS
                || catch_up_log.bytes() > TRAIL_BYTES
                || events > TRAIL_EVENTS
            {
                self.catch_up_log = None;
            }
        }
        if well {
            self.quarantine.iter_mut().for_each(Quarantine::worked);
            if self.inbox.status.borrow().state != SinkState::Running {
                events::pipeline::component_works(&self.name);
                self.set_state(SinkState::Running);
            }
        }
    }

    /// What `on_error` says, written down before it is acted on. `None`: hold.
    async fn decide(
        &mut self,
        entry: &Entry,
        error: &ChainError,
        decided: &mut Vec<AppliedAction>,
    ) -> Option<AppliedAction> {
        let slot = error.slot;
        let on_error = self.on_error(slot);
        let rows = entry.batch.samples.len();
        let words = error.to_string();
        if self.inbox.status.borrow().state == SinkState::Running {
            events::pipeline::component_failed(&self.name, rows, on_error.as_str(), error);
            self.keep_input(entry.offset, error).await;
        }
        let apart = spread(&entry.batch);
        let quarantine = self.quarantine.get_mut(slot);
        if quarantine.is_some_and(|one| one.failed(Instant::now(), apart)) {
            if !matches!(self.inbox.status.borrow().state, SinkState::Quarantined(_)) {
                events::pipeline::quarantined(&self.name, &error.component, &error.reason);
            }
            self.set_state(SinkState::Quarantined(words));
        } else {
            self.set_state(SinkState::Failing(words));
        }
        let action = match on_error {
            OnError::Hold => return None,
            _ if decided.iter().any(|action| action.slot == slot) => return None,
            OnError::Drop => FailureAction::Drop,
            OnError::Keep => FailureAction::Keep,
        };
        let action = AppliedAction { slot, action };
        decided.push(action);
        self.write_down(entry.offset, decided).await;
        Some(action)
    }

    /// Keeps what a component failed on for its author. That comes after the sink's own work: where
    /// it cannot be written, that is said and nothing else.
    async fn keep_input(&self, offset: Offset, error: &ChainError) {
        let (Some(revision), Some(input)) = (&self.revision, &error.input) else { return };
        let identities = revision.chain.identities();
        let Some(identity) = identities.get(error.slot) else { return };
        let text = publish::fixture(&error.to_string(), &identity.options, input);
        let name = format!("{}-{offset}", error.component);
        match self.dead_letters.keep_fixture(&name, &text).await {
            Ok(Some(path)) => events::pipeline::input_kept(&self.name, &error.component, &path),
            Ok(None) => {}
            Err(error) => events::store::failing(&error),
        }
    }

    async fn write_down(&self, offset: Offset, decided: &[AppliedAction]) {
        if let Err(error) = self.journal.note(offset, &applied_actions::encode(decided)).await {
            events::store::failing(&error);
        }
    }

    fn on_error(&self, slot: usize) -> OnError {
        let revision = self.revision.as_ref();
        revision.and_then(|one| one.on_error.get(slot)).copied().unwrap_or_default()
    }

    /// Transformers that are left alone for now, where that means something for a batch.
    fn verdicts_in_quarantine(&self) -> Vec<AppliedAction> {
        let now = Instant::now();
        let held = self.quarantine.iter().enumerate().filter(|(_, one)| one.holds(now));
        held.filter_map(|(slot, _)| {
            let action = match self.on_error(slot) {
                OnError::Hold => return None,
                OnError::Drop => FailureAction::Drop,
                OnError::Keep => FailureAction::Keep,
            };
            Some(AppliedAction { slot, action })
        })
        .collect()
    }

    /// Puts rows that verdicts have cost where people can find them.
    async fn set_aside(&mut self, entry: &Entry) {
        let Some(revision) = &mut self.revision else { return };
        let lost = revision.chain.take_lost();
        if lost.is_empty() {
            return;
        }
        let identities = revision.chain.identities();
        let reason = self.inbox.status.borrow().state.reason().unwrap_or_default().to_owned();
        for one in lost {
            let Some(identity) = identities.get(one.slot) else { continue };
            let letter = FailedBatch {
                sink: &self.name,
                transformer: one.slot,
                component: &identity.component,
                digest: &identity.digest,
                reason: &reason,
                offset: entry.offset,
                source: &entry.batch.source,
                cycle_start: entry.batch.cycle_start.wall,
                samples: &one.samples,
            };
            if let Err(error) = self.dead_letters.append(letter).await {
                events::store::failing(&error);
            }
        }
    }

    /// Brings the generation before back, if it may still come.
    async fn roll_back(&mut self, error: &ChainError) -> bool {
        let Some(rollback_candidate) = self.rollback_candidate.take() else { return false };
        let Some(mut back) = rollback_candidate.back().await else { return false };
        let Some(mut failed) = self.revision.take() else { return false };
        back.chain.inherit_names(&mut failed.chain);
        let reason = error.reason.clone();
        events::reload::rolled_back(&self.name, &error.component, &reason);
        let (failed, identities) = (failed.chain.identities(), back.chain.identities());
        self.adopt(back);
        self.inbox.status.send_modify(|status| status.rollbacks += 1);
        let sink = Arc::clone(&self.name);
        let sink_event = SinkEvent::RolledBack { sink, failed, back: identities, reason };
        // Only an agent that is ending does not listen any more.
        drop(self.sink_events.try_send(sink_event));
        true
    }

    /// Waits, but obeys: whoever repairs a component does so while its sink is held.
    async fn wait(&mut self, delay: Duration) {
        self.ended |= self.ending;
        let over = tokio::time::sleep(delay);
        tokio::pin!(over);
        let reloads = self.inbox.status.borrow().reloads;
        while !self.ended && self.inbox.status.borrow().reloads == reloads {
            tokio::select! {
                biased;
                Some(command) = self.inbox.commands.recv() => {
                    self.handle_command(command).await;
                    self.ended |= self.ending;
                }
                () = &mut over => return,
            }
        }
    }

    /// Moves the mark of what need not be made again, and saves what can be saved.
    async fn keep(&mut self) {
        let emitted = self.journal.emitted(self.outlet.emitted(self.offset));
        if let Some(revision) = &self.revision
            && self.pending.is_none()
            && revision.chain.saved_at() > self.saved
            && self.last_save.elapsed() >= SAVE
        {
            self.pending = Some(revision.to_save());
        }
        if let Some(chain) = self.pending.take_if(|pending| pending.offset <= emitted) {
            self.last_save = Instant::now();
            let offset = chain.offset;
            events::pipeline::saving(&self.name, offset);
            match self.journal.save(chain).await {
                Ok(()) => {
                    self.saved = offset;
                    events::pipeline::saved(&self.name, offset);
                }
                Err(error) => events::store::failing(&error),
            }
        }
        let (offset, saved, back) = (self.offset, self.saved, self.rollback_candidate.is_some());
        self.inbox.status.send_if_modified(|status| {
            let now = (offset, emitted, saved, back);
            let changed =
                now != (status.offset, status.emitted, status.saved, status.can_roll_back);
            (status.offset, status.emitted, status.saved, status.can_roll_back) = now;
            changed
        });
    }

    /// Saves a last time, and lets go of the publishers.
    async fn end(mut self) -> DrainedSink {
        if let Some(revision) = &mut self.revision
            && revision.chain.offset() > self.saved
            && revision.chain.save_if_sound().await
        {
            self.pending = Some(revision.to_save());
        }
        DrainedSink {
            journal: self.journal,
            outstanding: self.outlet.close(),
            offset: self.offset,
            pending: self.pending,
            name: self.name,
        }
    }
}

/// Differs between batches, so that sinks that fail together do not come back together.
fn spread(batch: &Batch) -> u16 {
    let id = batch.samples.first().map_or([0; 16], |sample| sample.id.into_bytes());
    u16::from_be_bytes([id[0], id[1]])
}

#[cfg(test)]
#[path = "sink_tests.rs"]
mod tests;
