//! The journal as one sink reads it: the next batch, its emitted offset and its saved state.
//!
//! A reader moves only its own cursor. What is removed from the journal is decided there.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::StoreError;
use super::backend::ReadFailure;
use super::commit::{self, Persistence, SpoolAppend};
use super::db::{Changes, ResumePoint, SavedChain};
use super::journal::{Journal, JournalShared};
use super::journal_state::{JournalState, Next, SinkCursor};
use super::offsets::{OffsetTracker, SinkOffset};
use nephometer_model::{Batch, Offset};
use nephometer_proof::DeclaredDrop;
use nephometer_telemetry::{Account, Dropped, SinkCount, events::store as events};

/// Time between attempts to read from a failing disk.
const RETRY: Duration = Duration::from_secs(1);

/// A batch with its offset in the journal.
#[derive(Debug, Clone)]
pub struct JournalEntry {
    /// The offset.
    pub offset: Offset,
    /// The batch.
    pub batch: Arc<Batch>,
}

/// The reading handle of one sink.
#[derive(Debug)]
pub struct JournalReader {
    shared: Arc<JournalShared>,
    sink: Arc<str>,
    resume: ResumePoint,
    /// The last read failed because the disk did. Logged once.
    stalled: bool,
}

impl JournalReader {
    pub(super) fn new(shared: Arc<JournalShared>, sink: Arc<str>, resume: ResumePoint) -> Self {
        Self { shared, sink, resume, stalled: false }
    }

    /// The name of the sink.
    pub fn sink(&self) -> &Arc<str> {
        &self.sink
    }

    /// Whether batches and offsets survive a restart.
    pub fn is_durable(&self) -> bool {
        self.shared.backend.is_durable()
    }

    /// Takes the point where an earlier run has stopped; the default from the second call on.
    pub fn resume(&mut self) -> ResumePoint {
        std::mem::take(&mut self.resume)
    }

    /// Moves the cursor: the next batch is the first one after `to`.
    pub fn rewind(&mut self, to: Offset) {
        if let Some(cursor) = self.shared.state().cursors.get_mut(&self.sink) {
            cursor.processed = to;
            cursor.leased = None;
        }
    }

    /// Waits for the next batch, and returns the same one until [`Self::advance`]. `None` once the
    /// journal is closed and has no more. Cancel safe.
    pub async fn next(&mut self) -> Option<JournalEntry> {
        loop {
            let shared = Arc::clone(&self.shared);
            let filled = shared.filled().notified();
            tokio::pin!(filled);
            // Enabled before the check, so that a notification right after it is not missed.
            filled.as_mut().enable();
            match self.read_next().await {
                Next::Batch(entry) => return Some(entry),
                Next::End => return None,
                Next::Later => filled.await,
            }
        }
    }

    /// The next batch if there is one now. A damaged one is logged, counted as dropped and skipped.
    /// While the disk fails, this waits, so that no batch in the journal is lost. Cancel safe.
    pub async fn try_next(&mut self) -> Option<JournalEntry> {
        match self.read_next().await {
            Next::Batch(entry) => Some(entry),
            Next::Later | Next::End => None,
        }
    }

    async fn read_next(&mut self) -> Next<JournalEntry> {
        loop {
            let offset = match self.shared.state().lease_next(&self.sink) {
                Next::Batch(offset) => offset,
                Next::Later => return Next::Later,
                Next::End => return Next::End,
            };
            match self.shared.batch(offset).await {
                Ok(batch) => {
                    self.stalled = false;
                    return Next::Batch(JournalEntry { offset, batch });
                }
                Err(ReadFailure::Transient(reason)) => {
                    if !std::mem::replace(&mut self.stalled, true) {
                        events::journal_read_failed(&self.sink, offset, &reason);
                    }
                    tokio::time::sleep(RETRY).await;
                }
                Err(ReadFailure::Damaged(reason)) => {
                    events::batch_unreadable(offset, &reason);
                    let mut state = self.shared.state();
                    let slot = state.slots.get(&offset);
                    let (samples, cycle_start) =
                        slot.map_or((0, 0), |slot| (slot.samples, slot.cycle_start));
                    let Some(cursor) = state.cursors.get_mut(&self.sink) else { continue };
                    if offset > cursor.counted {
                        cursor.drop_samples(Dropped::Unreadable, samples, cycle_start);
                        cursor.counts.pending.fetch_sub(samples, Relaxed);
                    }
                    cursor.processed = offset;
                    cursor.leased = None;
                }
            }
        }
    }

    /// Records that the batch from [`Self::next`] is processed.
    pub fn advance(&mut self) {
        let mut state = self.shared.state();
        let JournalState { slots, cursors, .. } = &mut *state;
        if let Some(cursor) = cursors.get_mut(&self.sink)
            && let Some(leased) = cursor.leased.take()
        {
            cursor.processed = leased;
            let samples = slots.get(&leased).map_or(0, |slot| slot.samples);
            if leased > cursor.counted {
                cursor.counts.pending.fetch_sub(samples, Relaxed);
            }
        }
        drop(state);
        self.shared.notify_processed();
    }

    /// Takes what was dropped for the sink before it read it.
    pub fn take_dropped(&self) -> Vec<DeclaredDrop> {
        let mut state = self.shared.state();
        let cursor = state.cursors.get_mut(&self.sink);
        cursor.map_or_else(Vec::new, |cursor| std::mem::take(&mut cursor.undeclared))
    }

    /// Records the counters of the transformers after a batch. They are written together with the
    /// emitted offset when it reaches that batch, and never separately.
    pub fn record_counts(&self, offset: Offset, transformers: Vec<(String, Account)>) {
        if let Some(cursor) = self.shared.state().cursors.get_mut(&self.sink) {
            cursor.tracker.checkpoint(offset, transformers);
        }
    }

    /// Moves the emitted offset to the last counted batch up to `to`, and returns it. All envelopes of
    /// batches up to `to` must be on disk or acknowledged. Written with the next transaction.
    pub fn advance_emitted(&self, to: Offset) -> Offset {
        let mut state = self.shared.state();
        let Some(cursor) = state.cursors.get_mut(&self.sink) else { return 0 };
        cursor.tracker.advance(to);
        cursor.tracker.emitted()
    }

    /// Appends envelopes to spools and moves the emitted offset, with the counters at it, in one
    /// transaction: the batches up to it need not be processed again. Waits for room only in spools
    /// with [`super::WhenFull::Wait`]. Returns whether the transaction was written, and the number of
    /// envelopes that each spool was given; records are not counted.
    ///
    /// What was not written, because it was deferred or the disk fails, is part of the next commit.
    pub async fn commit(
        &self,
        appends: Vec<SpoolAppend<'_>>,
        to: Offset,
        persistence: Persistence,
    ) -> (bool, Vec<u64>) {
        let sink_offset = {
            let state = self.shared.state();
            state.cursors.get(&self.sink).map(|cursor| cursor.tracker.advanced(&self.sink, to))
        };
        let sink_offsets: Vec<SinkOffset> = sink_offset.into_iter().collect();
        let changes = Changes { sink_offsets: sink_offsets.clone(), ..Changes::default() };
        let report = commit::commit(&self.shared.backend, &appends, changes, persistence).await;
        if report.written {
            self.advance_emitted(to);
            self.shared.state().mark_written(&sink_offsets);
        }
        (report.written, report.envelopes)
    }

    /// Makes durable what was written lazily, by any sink; one sync for all of them.
    pub async fn sync(&self) {
        let backend = &self.shared.backend;
        if backend.disk().is_some_and(|disk| disk.is_unsynced()) {
            // The backend has logged a failure; the next write is durable again.
            drop(backend.write(Changes::default()).await);
        }
    }

    /// Writes a note on a batch. It is part of the [`ResumePoint`] until a state is saved at or after
    /// that batch.
    ///
    /// # Errors
    /// If the database cannot be written.
    pub async fn note(&self, at: Offset, note: &[u8]) -> Result<(), StoreError> {
        let note = Some((Arc::clone(&self.sink), at, note.to_vec()));
        self.shared.write(Changes { note, ..Changes::default() }).await
    }

    /// Writes the states of the transformers together with all emitted offsets. Batches that are
    /// unneeded after that are removed with the next batch.
    ///
    /// # Errors
    /// If the database cannot be written.
    pub async fn save(&self, chain: SavedChain) -> Result<(), StoreError> {
        let offset = chain.offset;
        let sink_offsets = self.shared.state().unwritten_offsets();
        let saved = Some((Arc::clone(&self.sink), chain));
        self.shared.write(Changes { saved, sink_offsets, ..Changes::default() }).await?;
        if let Some(cursor) = self.shared.state().cursors.get_mut(&self.sink) {
            cursor.saved = cursor.saved.max(offset);
        }
        Ok(())
    }
}

impl Journal {
    /// Opens the reading handle of a sink, which gets the batches of `sources`. Batches of an earlier
    /// run after its emitted offset count as entered.
    ///
    /// # Errors
    /// If the stored state of the sink cannot be read: the sink would start empty, and its next save
    /// overwrite that state.
    pub fn reader(
        &self,
        sink: &Arc<str>,
        sources: &HashSet<Arc<str>>,
        counts: &Arc<SinkCount>,
    ) -> Result<JournalReader, StoreError> {
        let name = SinkCount::name(sink);
        let (resume, account) = self.0.backend.load_blocking(|disk| {
            Ok((disk.resume(sink)?, disk.account(&name)?.unwrap_or_default()))
        })?;
        let saved = resume.saved.as_ref().map_or(0, |saved| saved.offset);
        let mut state = self.0.state();
        // Offsets continue, even if all batches of the earlier run have been removed.
        state.next = state.next.max(resume.emitted.max(saved) + 1);
        // A new sink starts with the next batch.
        let known = resume.saved.is_some() || resume.emitted > 0;
        let has_batches = state.slots.iter().any(|(_, slot)| slot.sinks.contains(sink));
        let begin = if known || has_batches { 0 } else { state.next - 1 };
        let emitted = resume.emitted.max(begin);
        let cursor = SinkCursor {
            sources: sources.clone(),
            processed: emitted.max(saved),
            leased: None,
            tracker: OffsetTracker::new(emitted, resume.emitted),
            saved: saved.max(begin),
            counted: emitted,
            counts: Arc::clone(counts),
            undeclared: Vec::new(),
        };
        let pending = state.samples_after(sink, emitted);
        counts.restore(&account, pending);
        state.register(sink, cursor);
        Ok(JournalReader::new(Arc::clone(&self.0), Arc::clone(sink), resume))
    }
}
