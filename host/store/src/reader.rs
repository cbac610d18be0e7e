//! The journal as one sink sees it: what comes next, and how far it is.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::StoreError;
use super::backend::ReadFailure;
use super::commit::{self, SpoolInput};
use super::db::{Changes, Resume, SavedChain};
use super::journal::{Journal, JournalShared};
use super::memory::{Cursor, JournalState};
use super::offsets::{OffsetTracker, SinkOffset};
use nephometer_model::{Batch, Offset};
use nephometer_telemetry::{Account, Dropped, SinkCount, events::store as events};

/// From one attempt to read from a disk that fails to the next.
const RETRY: Duration = Duration::from_secs(1);

/// One batch with its place.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its place.
    pub offset: Offset,
    /// The batch.
    pub batch: Arc<Batch>,
}

/// The end of one sink.
#[derive(Debug)]
pub struct JournalReader {
    shared: Arc<JournalShared>,
    sink: Arc<str>,
    resume: Resume,
    /// The last read failed because the disk did: logged once.
    waits: bool,
}

impl JournalReader {
    pub(super) fn new(shared: Arc<JournalShared>, sink: Arc<str>, resume: Resume) -> Self {
        Self { shared, sink, resume, waits: false }
    }

    /// Whose it is.
    pub fn sink(&self) -> &Arc<str> {
        &self.sink
    }

    /// Where an earlier run has stopped. Given once.
    pub fn resume(&mut self) -> Resume {
        std::mem::take(&mut self.resume)
    }

    /// The next batch is the first one behind `to`.
    pub fn rewind(&mut self, to: Offset) {
        if let Some(cursor) = self.shared.state().cursors.get_mut(&self.sink) {
            cursor.at = to;
            cursor.leased = None;
        }
    }

    /// The batch at the head: the same one until [`Self::advance`]. `None` once the journal is
    /// closed and nothing is left. May be dropped at any time.
    pub async fn next(&mut self) -> Option<Entry> {
        loop {
            let shared = Arc::clone(&self.shared);
            let filled = shared.filled().notified();
            tokio::pin!(filled);
            // Enabled before the look, so that what comes right after it is not missed.
            filled.as_mut().enable();
            if let Some(entry) = self.try_next().await {
                return Some(entry);
            }
            if self.shared.state().closed {
                return None;
            }
            filled.await;
        }
    }

    /// The batch at the head if there is one now. A damaged one is passed over, counted and logged.
    /// While the disk fails, this waits: what the journal holds is not lost by that. May be dropped
    /// at any time.
    pub async fn try_next(&mut self) -> Option<Entry> {
        loop {
            let offset = {
                let mut state = self.shared.state();
                let offset = state.next_for(&self.sink)?;
                state.cursors.get_mut(&self.sink)?.leased = Some(offset);
                offset
            };
            match self.shared.batch(offset).await {
                Ok(batch) => {
                    self.waits = false;
                    return Some(Entry { offset, batch });
                }
                Err(ReadFailure::Transient(reason)) => {
                    if !std::mem::replace(&mut self.waits, true) {
                        events::journal_read_failed(&self.sink, offset, &reason);
                    }
                    tokio::time::sleep(RETRY).await;
                }
                Err(ReadFailure::Damaged(reason)) => {
                    events::batch_unreadable(offset, &reason);
                    let mut state = self.shared.state();
                    let samples = state.slots.get(&offset).map_or(0, |slot| slot.samples);
                    let cursor = state.cursors.get_mut(&self.sink)?;
                    if offset > cursor.counted {
                        cursor.counts.dropped.add(Dropped::Unreadable, samples);
                        cursor.counts.pending.fetch_sub(samples, Relaxed);
                    }
                    cursor.at = offset;
                    cursor.leased = None;
                }
            }
        }
    }

    /// The batch that was given is worked off.
    pub fn advance(&mut self) {
        let mut state = self.shared.state();
        let JournalState { slots, cursors, .. } = &mut *state;
        if let Some(cursor) = cursors.get_mut(&self.sink)
            && let Some(leased) = cursor.leased.take()
        {
            cursor.at = leased;
            let samples = slots.get(&leased).map_or(0, |slot| slot.samples);
            if leased > cursor.counted {
                cursor.counts.pending.fetch_sub(samples, Relaxed);
            }
        }
        drop(state);
        self.shared.went_on();
    }

    /// A batch is through the transformers, which have counted so much by then. It is written with
    /// the mark once that gets there, and never apart from it.
    pub fn counted(&self, offset: Offset, transformers: Vec<(String, Account)>) {
        if let Some(cursor) = self.shared.state().cursors.get_mut(&self.sink) {
            cursor.offset_trackers.count(offset, transformers);
        }
    }

    /// All that was made of batches up to `to` is on disk or acknowledged: moves the mark to the last
    /// counted batch up to there, and returns where it is. Is written with whatever is written next.
    pub fn emitted(&self, to: Offset) -> Offset {
        let mut state = self.shared.state();
        let Some(cursor) = state.cursors.get_mut(&self.sink) else { return 0 };
        cursor.offset_trackers.advance(to);
        cursor.offset_trackers.emitted()
    }

    /// Puts envelopes into spools, and moves the mark with what is counted up to it, in one transaction:
    /// what they were made from need not be worked on again. Waits for room only if a spool was made
    /// so. How many envelopes each spool was given.
    pub async fn emit(&self, puts: Vec<SpoolInput<'_>>, to: Offset) -> Vec<u64> {
        let sink_offset = {
            let state = self.shared.state();
            state.cursors.get(&self.sink).map(|cursor| cursor.offset_trackers.ahead(&self.sink, to))
        };
        let offset_trackers: Vec<SinkOffset> = sink_offset.into_iter().collect();
        let changes = Changes { offset_trackers: offset_trackers.clone(), ..Changes::default() };
        let emitted = commit::put(&self.shared.backend, &puts, changes).await;
        if emitted.written {
            self.emitted(to);
            self.shared.state().marked(&offset_trackers);
        }
        emitted.counts
    }

    /// Writes down something about one batch; it is there at the next start, until a state is saved
    /// behind it.
    pub async fn note(&self, at: Offset, note: &[u8]) -> Result<(), StoreError> {
        let note = Some((Arc::clone(&self.sink), at, note.to_vec()));
        self.shared.write(Changes { note, ..Changes::default() }).await
    }

    /// Writes the state of the transformers, with all marks. What nobody needs any more for that goes
    /// with the next batch.
    pub async fn save(&self, chain: SavedChain) -> Result<(), StoreError> {
        let offset = chain.offset;
        let offset_trackers = self.shared.state().moved_marks();
        let saved = Some((Arc::clone(&self.sink), chain));
        self.shared.write(Changes { saved, offset_trackers, ..Changes::default() }).await?;
        if let Some(cursor) = self.shared.state().cursors.get_mut(&self.sink) {
            cursor.saved = cursor.saved.max(offset);
        }
        Ok(())
    }
}

impl Journal {
    /// The end of one sink, which wants the batches of these sources. What an earlier run has left
    /// for it, and it had not settled, counts as having entered it.
    ///
    /// # Errors
    /// If what was left cannot be read: the sink would begin from nothing, and its next save overwrite
    /// it.
    pub fn reader(
        &self,
        sink: &Arc<str>,
        sources: &HashSet<Arc<str>>,
        counts: &Arc<SinkCount>,
    ) -> Result<JournalReader, StoreError> {
        let name = SinkCount::name(sink);
        let (resume, kept) = self
            .0
            .backend
            .left_now(|disk| Ok((disk.resume(sink)?, disk.account(&name)?.unwrap_or_default())))?;
        let saved = resume.saved.as_ref().map_or(0, |saved| saved.offset);
        let mut state = self.0.state();
        // Numbers go on, also where all batches of an earlier run have been removed.
        state.next = state.next.max(resume.emitted.max(saved) + 1);
        // A sink that was never there before begins with what comes.
        let known = resume.saved.is_some() || resume.emitted > 0;
        let wanted = state.slots.iter().any(|(_, slot)| slot.sinks.contains(sink));
        let begin = if known || wanted { 0 } else { state.next - 1 };
        let emitted = resume.emitted.max(begin);
        let cursor = Cursor {
            sources: sources.clone(),
            at: emitted.max(saved),
            leased: None,
            offset_trackers: OffsetTracker::new(emitted, resume.emitted),
            saved: saved.max(begin),
            counted: emitted,
            counts: Arc::clone(counts),
        };
        let held = state.held_behind(sink, emitted);
        counts.restore(&kept, held);
        state.register(sink, cursor);
        Ok(JournalReader::new(Arc::clone(&self.0), Arc::clone(sink), resume))
    }
}
