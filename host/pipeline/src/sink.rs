use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::emit::Outlet;
use super::generation::{Base, Generation, Retired};
use super::handle::{Ears, Notice, SinkHandle, SinkState, handle};
use super::quarantine::Quarantine;
use super::remains::Remains;
use super::verdicts;
use crate::publish::{self, Backoff};
use crate::transform::{ChainError, Decision, Event, SampleList, Verdict, Window};
use nephometer_config::OnError;
use nephometer_model::{Batch, Position};
use nephometer_store::{DeadLetters, Entry, JournalReader, Lost, SavedChain};
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
    pub generation: Option<Generation>,
    /// Where it publishes.
    pub outlet: Outlet,
    /// Its counters.
    pub count: Arc<SinkCount>,
    /// Where batches are set aside that a component failed on.
    pub dead_letters: DeadLetters,
    /// Who is told what it decides by itself.
    pub notices: mpsc::Sender<Notice>,
    /// Where chains run; `None`: in the task of the sink.
    pub guest_threads: Option<GuestThreads>,
}

/// One sink: a cursor on the journal, its transformers, its publishers.
pub struct Sink {
    pub(super) name: Arc<str>,
    pub(super) journal: JournalReader,
    pub(super) generation: Option<Generation>,
    pub(super) outlet: Outlet,
    pub(super) count: Arc<SinkCount>,
    pub(super) dead_letters: DeadLetters,
    pub(super) notices: mpsc::Sender<Notice>,
    guest_threads: Option<GuestThreads>,
    pub(super) ears: Ears,
    /// What was saved on disk, while there are no transformers.
    pub(super) base: Base,
    /// Decisions of an earlier run on batches that come again.
    notes: BTreeMap<Position, Vec<u8>>,
    /// The last batch that was worked on.
    pub(super) position: Position,
    /// Batches since somebody asked for a base, for the generation that starts from it.
    pub(super) trail: Option<Window>,
    pub(super) retired: Option<Retired>,
    /// Per transformer of the generation.
    pub(super) quarantine: Vec<Quarantine>,
    /// State that can be written once all that led to it has been settled.
    pub(super) pending: Option<SavedChain>,
    saved: Position,
    last_save: Instant,
    /// Nothing more will come.
    pub(super) ending: bool,
    pub(super) ended: bool,
}

impl Sink {
    /// A sink that has not begun, and what others talk to it with.
    pub fn new(parts: SinkParts) -> (Self, SinkHandle) {
        let SinkParts { name, journal, generation, outlet, count, dead_letters, .. } = parts;
        let SinkParts { notices, guest_threads, .. } = parts;
        let state = match &generation {
            Some(_) => SinkState::Running,
            None => SinkState::Preparing,
        };
        let (handle, ears) = handle(state);
        let sink = Self {
            name,
            journal,
            generation,
            outlet,
            count,
            dead_letters,
            notices,
            guest_threads,
            ears,
            base: Base::default(),
            notes: BTreeMap::new(),
            position: 0,
            trail: None,
            retired: None,
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
    pub async fn run(mut self) -> Remains {
        self.begin().await;
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.ended {
            tokio::select! {
                biased;
                Some(command) = self.ears.commands.recv() => self.obey(command).await,
                entry = self.journal.next(), if self.generation.is_some() => match entry {
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
        self.saved = saved.position;
        self.position = saved.position;
        self.journal.rewind(saved.position);
        let mut events = Vec::new();
        while let Some(entry) = self.journal.try_next().await {
            if entry.position > resume.emitted {
                break;
            }
            events.push(self.event(&entry));
            self.position = entry.position;
            self.journal.advance();
        }
        if !events.is_empty() {
            events::pipeline::resumed(&self.name, saved.position, events.len());
        }
        self.base = Base::saved(saved, events);
        if let Some(mut generation) = self.generation.take() {
            let base = mem::take(&mut self.base);
            let waits = Base { events: Vec::new(), ..base.clone() };
            let caught_up = match generation.catch_up(&waits).await {
                Ok(()) => generation.follow_all(base.events.clone()).await,
                Err(error) => Err(error),
            };
            match caught_up {
                Ok(()) => self.adopt(generation),
                Err(error) => {
                    self.base = base;
                    self.wait_for_transformers(&error.to_string());
                }
            }
        }
    }

    fn event(&mut self, entry: &Entry) -> Event {
        let noted = self.notes.remove(&entry.position);
        let verdicts = noted.map_or_else(Vec::new, |bytes| verdicts::decode(&bytes));
        Event::new(entry.position, &entry.batch, &verdicts)
    }

    /// These are the transformers from now on.
    pub(super) fn adopt(&mut self, generation: Generation) {
        self.quarantine = (0..generation.on_error.len()).map(|_| Quarantine::default()).collect();
        let stages = generation.chain.identities();
        self.generation = Some(generation);
        self.base = Base::default();
        self.ears.status.send_modify(|status| {
            status.stages = stages;
            status.state = SinkState::Running;
        });
    }

    pub(super) fn wait_for_transformers(&self, reason: &str) {
        events::pipeline::held(&self.name, reason);
        self.set_state(SinkState::Waiting(reason.to_owned()));
    }

    fn set_state(&self, state: SinkState) {
        self.ears.status.send_if_modified(|status| {
            let changed = status.state != state;
            status.state = state;
            changed
        });
    }

    /// One batch, until it is through or its fate is decided.
    async fn work(&mut self, entry: Entry) {
        let mut event = self.event(&entry);
        let mut waits = 0;
        let mut decided: Vec<Verdict> = self.verdicts_in_quarantine();
        for verdict in &decided {
            event = event.with(*verdict);
        }
        loop {
            let Some(generation) = self.generation.take() else { return };
            let (generation, processed) =
                generation.process(event.clone(), self.guest_threads.as_ref()).await;
            self.generation = Some(generation);
            let error = match processed {
                Ok(lists) => {
                    self.set_aside(&entry).await;
                    self.emit(entry.position, &entry.batch, lists).await;
                    return self.done(&entry, event, decided.is_empty());
                }
                Err(error) => error,
            };
            if self.roll_back(&error).await {
                continue;
            }
            match self.decide(&entry, &error, &mut decided).await {
                Some(verdict) => event = event.with(verdict),
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
    pub(super) async fn emit(&mut self, position: Position, batch: &Batch, lists: Vec<SampleList>) {
        let stages = self.generation.as_ref().map_or_else(Vec::new, |one| one.chain.accounts());
        self.journal.counted(position, stages);
        self.outlet.emit(&self.journal, position, batch, lists).await;
    }

    /// A batch is through.
    fn done(&mut self, entry: &Entry, event: Event, well: bool) {
        self.count.processed.fetch_add(entry.batch.samples.len() as u64, Relaxed);
        self.position = entry.position;
        self.journal.advance();
        if let Some(retired) = &mut self.retired
            && !retired.remember(&event)
        {
            self.retired = None;
        }
        if let Some(trail) = &mut self.trail {
            trail.push(event);
            let events = trail.events().len();
            if trail.rows() > TRAIL_ROWS || trail.bytes() > TRAIL_BYTES || events > TRAIL_EVENTS {
                self.trail = None;
            }
        }
        if well {
            self.quarantine.iter_mut().for_each(Quarantine::worked);
            if self.ears.status.borrow().state != SinkState::Running {
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
        decided: &mut Vec<Verdict>,
    ) -> Option<Verdict> {
        let stage = error.stage;
        let on_error = self.on_error(stage);
        let rows = entry.batch.samples.len();
        let words = error.to_string();
        if self.ears.status.borrow().state == SinkState::Running {
            events::pipeline::component_failed(&self.name, rows, on_error.as_str(), error);
            self.keep_input(entry.position, error).await;
        }
        let apart = spread(&entry.batch);
        let quarantine = self.quarantine.get_mut(stage);
        if quarantine.is_some_and(|one| one.failed(Instant::now(), apart)) {
            if !matches!(self.ears.status.borrow().state, SinkState::Quarantined(_)) {
                events::pipeline::quarantined(&self.name, &error.component, &error.reason);
            }
            self.set_state(SinkState::Quarantined(words));
        } else {
            self.set_state(SinkState::Failing(words));
        }
        let decision = match on_error {
            OnError::Hold => return None,
            _ if decided.iter().any(|verdict| verdict.stage == stage) => return None,
            OnError::Drop => Decision::Drop,
            OnError::Keep => Decision::Keep,
        };
        let verdict = Verdict { stage, decision };
        decided.push(verdict);
        self.write_down(entry.position, decided).await;
        Some(verdict)
    }

    /// Keeps what a component failed on for its author. That comes after the sink's own work: where
    /// it cannot be written, that is said and nothing else.
    async fn keep_input(&self, position: Position, error: &ChainError) {
        let (Some(generation), Some(input)) = (&self.generation, &error.input) else { return };
        let identities = generation.chain.identities();
        let Some(identity) = identities.get(error.stage) else { return };
        let text = publish::fixture(&error.to_string(), &identity.options, input);
        let name = format!("{}-{position}", error.component);
        match self.dead_letters.keep_fixture(&name, &text).await {
            Ok(Some(path)) => events::pipeline::input_kept(&self.name, &error.component, &path),
            Ok(None) => {}
            Err(error) => events::store::failing(&error),
        }
    }

    async fn write_down(&self, position: Position, decided: &[Verdict]) {
        if let Err(error) = self.journal.note(position, &verdicts::encode(decided)).await {
            events::store::failing(&error);
        }
    }

    fn on_error(&self, stage: usize) -> OnError {
        let generation = self.generation.as_ref();
        generation.and_then(|one| one.on_error.get(stage)).copied().unwrap_or_default()
    }

    /// Transformers that are left alone for now, where that means something for a batch.
    fn verdicts_in_quarantine(&self) -> Vec<Verdict> {
        let now = Instant::now();
        let held = self.quarantine.iter().enumerate().filter(|(_, one)| one.holds(now));
        held.filter_map(|(stage, _)| {
            let decision = match self.on_error(stage) {
                OnError::Hold => return None,
                OnError::Drop => Decision::Drop,
                OnError::Keep => Decision::Keep,
            };
            Some(Verdict { stage, decision })
        })
        .collect()
    }

    /// Puts rows that verdicts have cost where people can find them.
    async fn set_aside(&mut self, entry: &Entry) {
        let Some(generation) = &mut self.generation else { return };
        let lost = generation.chain.take_lost();
        if lost.is_empty() {
            return;
        }
        let identities = generation.chain.identities();
        let reason = self.ears.status.borrow().state.reason().unwrap_or_default().to_owned();
        for one in lost {
            let Some(identity) = identities.get(one.stage) else { continue };
            let letter = Lost {
                sink: &self.name,
                stage: one.stage,
                component: &identity.component,
                digest: &identity.digest,
                reason: &reason,
                position: entry.position,
                source: &entry.batch.source,
                tick: entry.batch.tick.wall,
                samples: &one.samples,
            };
            if let Err(error) = self.dead_letters.append(letter).await {
                events::store::failing(&error);
            }
        }
    }

    /// Brings the generation before back, if it may still come.
    async fn roll_back(&mut self, error: &ChainError) -> bool {
        let Some(retired) = self.retired.take() else { return false };
        let Some(mut back) = retired.back().await else { return false };
        let Some(mut failed) = self.generation.take() else { return false };
        back.chain.inherit_names(&mut failed.chain);
        let reason = error.reason.clone();
        events::reload::rolled_back(&self.name, &error.component, &reason);
        let (failed, identities) = (failed.chain.identities(), back.chain.identities());
        self.adopt(back);
        self.ears.status.send_modify(|status| status.rollbacks += 1);
        let sink = Arc::clone(&self.name);
        let notice = Notice::RolledBack { sink, failed, back: identities, reason };
        // Only an agent that is ending does not listen any more.
        drop(self.notices.try_send(notice));
        true
    }

    /// Waits, but obeys: whoever repairs a component does so while its sink is held.
    async fn wait(&mut self, delay: Duration) {
        self.ended |= self.ending;
        let over = tokio::time::sleep(delay);
        tokio::pin!(over);
        let reloads = self.ears.status.borrow().reloads;
        while !self.ended && self.ears.status.borrow().reloads == reloads {
            tokio::select! {
                biased;
                Some(command) = self.ears.commands.recv() => {
                    self.obey(command).await;
                    self.ended |= self.ending;
                }
                () = &mut over => return,
            }
        }
    }

    /// Moves the mark of what need not be made again, and saves what can be saved.
    async fn keep(&mut self) {
        let emitted = self.journal.emitted(self.outlet.emitted(self.position));
        if let Some(generation) = &self.generation
            && self.pending.is_none()
            && generation.chain.saved_at() > self.saved
            && self.last_save.elapsed() >= SAVE
        {
            self.pending = Some(generation.to_save());
        }
        if let Some(chain) = self.pending.take_if(|pending| pending.position <= emitted) {
            self.last_save = Instant::now();
            let position = chain.position;
            events::pipeline::saving(&self.name, position);
            match self.journal.save(chain).await {
                Ok(()) => {
                    self.saved = position;
                    events::pipeline::saved(&self.name, position);
                }
                Err(error) => events::store::failing(&error),
            }
        }
        let (position, saved, back) = (self.position, self.saved, self.retired.is_some());
        self.ears.status.send_if_modified(|status| {
            let now = (position, emitted, saved, back);
            let changed =
                now != (status.position, status.emitted, status.saved, status.can_roll_back);
            (status.position, status.emitted, status.saved, status.can_roll_back) = now;
            changed
        });
    }

    /// Saves a last time, and lets go of the publishers.
    async fn end(mut self) -> Remains {
        if let Some(generation) = &mut self.generation
            && generation.chain.position() > self.saved
            && generation.chain.save_if_sound().await
        {
            self.pending = Some(generation.to_save());
        }
        Remains {
            journal: self.journal,
            outstanding: self.outlet.close(),
            position: self.position,
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
