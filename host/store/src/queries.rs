//! Commands on spools: list, check, export and requeue.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use serde::{Deserialize, Serialize};

use super::Envelope;
use super::WhenFull;
use super::db::Changes;
use super::spool::{SpoolBounds, SpoolShared};
use super::spool_tables::{self, SpoolSummary, StoredSpool};
use super::spools::Spools;
use super::stored_envelope::{PageCursor, StoredEnvelope};
use super::stream::StoredStream;
use super::write_state::Written;
use nephometer_telemetry::{Chain, Dropped, PublisherCount};

/// Envelopes that are read or moved at once.
const PAGE: usize = 50;

/// What [`Spools::requeue`] has moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequeueSummary {
    /// Number of envelopes.
    pub envelopes: u64,
    /// Samples in them.
    pub samples: u64,
}

impl Spools {
    /// All spools on disk with their contents.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn list(&self) -> Result<Vec<SpoolSummary>, String> {
        if !self.backend.is_durable() {
            return Ok(Vec::new());
        }
        self.backend.read(|disk| spool_tables::spools(&disk.begin_read()?)).await
    }

    /// Up to 50 envelopes of a spool after `after`: the pending ones in order, then the rejected ones.
    /// Empty at the end.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn page(
        &self,
        name: &str,
        after: Option<PageCursor>,
    ) -> Result<Vec<StoredEnvelope>, String> {
        let in_pending = after.is_none_or(|cursor| !cursor.rejected);
        let sequence = after.map_or(0, |cursor| cursor.sequence);
        if in_pending {
            let name = name.to_owned();
            let found = self
                .backend
                .read(move |disk| {
                    spool_tables::pending_page(&disk.begin_read()?, &name, sequence, PAGE)
                })
                .await?;
            if !found.is_empty() {
                let found = found.into_iter();
                return Ok(found
                    .map(|envelope| StoredEnvelope { envelope, rejected: None })
                    .collect());
            }
        }
        let (name, sequence) = (name.to_owned(), if in_pending { 0 } else { sequence });
        let found = self
            .backend
            .read(move |disk| {
                spool_tables::rejected_page(&disk.begin_read()?, &name, sequence, PAGE)
            })
            .await?;
        let found = found.into_iter();
        Ok(found
            .map(|(envelope, reason)| StoredEnvelope { envelope, rejected: Some(reason) })
            .collect())
    }

    /// Reads every pending envelope, and returns a line for each that cannot be read.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn check(&self) -> Result<Vec<String>, String> {
        let mut problems = Vec::new();
        for spool in self.list().await? {
            let name = spool.name.clone();
            let damaged = self
                .backend
                .read(move |disk| {
                    let transaction = disk.begin_read()?;
                    let StoredSpool { heads, unreadable: mut damaged, .. } =
                        spool_tables::spool(&transaction, &name)?;
                    for page in heads.chunks(PAGE) {
                        let found = spool_tables::envelopes(&transaction, &name, page)?;
                        let pairs = page.iter().zip(found);
                        let missing = pairs.filter(|(_, one)| one.is_none());
                        damaged.extend(missing.map(|((sequence, _), _)| *sequence));
                    }
                    Ok(damaged)
                })
                .await?;
            let lines = damaged.iter();
            problems.extend(
                lines.map(|number| format!("{}: envelope {number} cannot be read", spool.name)),
            );
        }
        Ok(problems)
    }

    /// Moves the rejected envelopes of a spool to the end of `to`, which may be the same one. If
    /// `from` is orphaned, its pending envelopes are moved as well.
    ///
    /// # Errors
    /// If a spool is unknown, `from` is in use by another publisher, `to` is full, or the disk fails.
    pub async fn requeue(&self, from: &str, to: &str) -> Result<RequeueSummary, String> {
        let known = self.list().await?;
        for name in [from, to] {
            if !known.iter().any(|spool| spool.name == name) {
                let names: Vec<&str> = known.iter().map(|spool| spool.name.as_str()).collect();
                return Err(format!("unknown spool {name}; known spools: {}", names.join(", ")));
            }
        }
        if from != to && self.is_open(from) {
            return Err(format!(
                "spool {from} is in use by a publisher; its rejected envelopes can only be requeued to it"
            ));
        }
        let target = self.get_or_load(to).await?;
        let source = if from == to { Arc::clone(&target) } else { self.get_or_load(from).await? };
        let moved = self.move_pages((from, &source), (to, &target)).await;
        for spool in [&source, &target] {
            if !self.is_open(&spool.name) {
                // No publisher will: numbers continue without a hole.
                spool.close().await;
            }
        }
        moved
    }

    async fn move_pages(
        &self,
        (from, source): (&str, &SpoolShared),
        (to, target): (&str, &Arc<SpoolShared>),
    ) -> Result<RequeueSummary, String> {
        let mut moved = RequeueSummary::default();
        // Pending envelopes of the target stay where they are.
        let mut last = (from == to).then_some(PageCursor { rejected: true, sequence: 0 });
        loop {
            let page = self.page(from, last).await?;
            let Some(end) = page.last() else { return Ok(moved) };
            last = Some(end.cursor());
            moved.envelopes += page.iter().filter(|one| !one.envelope.is_record()).count() as u64;
            moved.samples += page.iter().map(|one| one.envelope.samples).sum::<u64>();
            move_page((from, source), (to, target), page).await?;
        }
    }

    /// A spool, also one that no publisher has opened.
    async fn get_or_load(&self, name: &str) -> Result<Arc<SpoolShared>, String> {
        if let Some(open) = self.get(name) {
            return Ok(open);
        }
        let stored =
            self.backend.load_spool(name).await.map_err(|error| Chain(&error).to_string())?;
        let bounds =
            SpoolBounds { bytes: u64::MAX, count: None, age: None, evict_last: Vec::new() };
        let limits = (bounds, WhenFull::DropOldest);
        let counts = Arc::<PublisherCount>::default();
        // Numbers continue in the stream that it had, if any.
        let stream = stored.stream.as_ref().map(StoredStream::id);
        let shared = SpoolShared::new(name, &self.backend, limits, (&counts, stored), stream);
        shared.reserve_numbers().await;
        Ok(Arc::new(shared))
    }
}

async fn move_page(
    (from, source): (&str, &SpoolShared),
    (to, target): (&str, &Arc<SpoolShared>),
    page: Vec<StoredEnvelope>,
) -> Result<(), String> {
    // A record proves nothing in another place of a stream.
    let samples = page.iter().filter(|one| !one.envelope.is_record());
    let envelopes = samples.map(|one| Envelope {
        // Its batch was emitted long ago.
        offset: u64::MAX,
        ..one.envelope.clone()
    });
    let envelopes: Vec<Envelope> = envelopes.collect();
    if !target.fits(&envelopes) {
        return Err(format!("spool {to} has no room; the remaining envelopes stay in {from}"));
    }
    // Added before it is removed: a crash in between duplicates envelopes, with the same ids.
    SpoolShared::extra_writer(target).push(envelopes).await;
    source.remove_moved(&page).await
}

impl SpoolShared {
    /// Removes envelopes that were moved to another spool, pending and rejected ones, also from the
    /// counters: they count there from now on. Records were not moved, and count as dropped.
    pub(super) async fn remove_moved(&self, moved: &[StoredEnvelope]) -> Result<(), String> {
        let mut state = self.write_state.lock().await;
        let counts = &self.counts;
        let (mut pending, mut requeued) = (HashSet::new(), Vec::new());
        for StoredEnvelope { envelope, rejected } in moved {
            let is_record = envelope.is_record();
            if !is_record {
                counts.encoded.fetch_sub(1, Relaxed);
                counts.samples.fetch_sub(envelope.samples, Relaxed);
            }
            if rejected.is_some() {
                if !is_record {
                    counts.dropped.take_back(Dropped::Permanent, envelope.manifest.by_meter());
                }
                requeued.push(envelope.sequence);
            } else {
                counts.dropped.add(Dropped::Policy, u64::from(is_record));
                state.declare_dropped("moved", envelope.sequence, Some(envelope));
                counts.pending.fetch_sub(1, Relaxed);
                pending.insert(envelope.sequence);
            }
        }
        if !pending.is_empty() {
            self.queue.lease(usize::MAX, u64::MAX);
            self.queue.end_lease(|_, slot| {
                let stays = !pending.contains(&slot.sequence);
                if !stays {
                    self.record_removal(&mut state, slot);
                }
                stays
            });
        }
        let (mut change, attempt) = self.take_change(&mut state, true);
        change.requeued = requeued;
        let changes = Changes { spools: vec![change], ..Changes::default() };
        let result = self.backend.write(changes).await;
        self.finish_write(&mut state, attempt, Written::of(result.is_ok(), false));
        result.map_err(|error| error.to_string())
    }
}
