//! What people can do with spools: look at them, check them, take copies, put things back.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Envelope;
use super::WhenFull;
use super::spool::{Bounds, SpoolShared};
use super::spool_tables::{self, SpoolSummary, StoredSpool};
use super::spools::Spools;
use super::stored_envelope::{Place, StoredEnvelope};
use nephometer_telemetry::{Chain, PublisherCount};

/// Envelopes that are moved or read at once.
const PAGE: usize = 50;

/// What was put back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requeued {
    /// Envelopes.
    pub envelopes: u64,
    /// Samples in them.
    pub samples: u64,
}

impl Spools {
    /// All spools with what they hold.
    pub async fn list(&self) -> Result<Vec<SpoolSummary>, String> {
        if !self.backend.is_durable() {
            return Ok(Vec::new());
        }
        self.backend.read(|disk| spool_tables::spools(&disk.reading()?)).await
    }

    /// What waits in a spool, and behind it what was refused for good: up to fifty, behind the one
    /// that was given last, in this order. Empty at the end.
    pub async fn page(
        &self,
        name: &str,
        after: Option<Place>,
    ) -> Result<Vec<StoredEnvelope>, String> {
        let waits = after.is_none_or(|place| !place.refused);
        let behind = after.map_or(0, |place| place.sequence);
        if waits {
            let wanted = name.to_owned();
            let found = self
                .backend
                .read(move |disk| spool_tables::waiting(&disk.reading()?, &wanted, behind, PAGE))
                .await?;
            if !found.is_empty() {
                let kept = found.into_iter();
                return Ok(kept
                    .map(|envelope| StoredEnvelope { envelope, refused: None })
                    .collect());
            }
        }
        let (wanted, behind) = (name.to_owned(), if waits { 0 } else { behind });
        let found = self
            .backend
            .read(move |disk| spool_tables::aside(&disk.reading()?, &wanted, behind, PAGE))
            .await?;
        let kept = found.into_iter();
        Ok(kept
            .map(|(envelope, reason)| StoredEnvelope { envelope, refused: Some(reason) })
            .collect())
    }

    /// Reads every envelope; gives what is wrong, a line each.
    pub async fn check(&self) -> Result<Vec<String>, String> {
        let mut problems = Vec::new();
        for spool in self.list().await? {
            let name = spool.name.clone();
            let problem = self
                .backend
                .read(move |disk| {
                    let reading = disk.reading()?;
                    let StoredSpool { left, unreadable } = spool_tables::spool(&reading, &name)?;
                    let mut bad: Vec<u64> = unreadable;
                    for page in left.heads.chunks(PAGE) {
                        let found = spool_tables::envelopes(&reading, &name, page)?;
                        let pairs = page.iter().zip(found);
                        bad.extend(pairs.filter(|(_, one)| one.is_none()).map(|(head, _)| head.0));
                    }
                    Ok(bad)
                })
                .await?;
            problems.extend(
                problem.iter().map(|number| format!("{}: {number} cannot be read", spool.name)),
            );
        }
        Ok(problems)
    }

    /// Puts what receivers have refused for good into a spool again, behind what waits there; and what
    /// waits in a spool that nobody reads any more, if `from` is such a one.
    pub async fn requeue(&self, from: &str, to: &str) -> Result<Requeued, String> {
        let known = self.list().await?;
        for name in [from, to] {
            if !known.iter().any(|spool| spool.name == name) {
                let names: Vec<&str> = known.iter().map(|spool| spool.name.as_str()).collect();
                return Err(format!("there is no spool {name}; there is {}", names.join(", ")));
            }
        }
        if from != to && self.is_open(from) {
            return Err(format!("a publisher is at work on {from}; only its own can be put back"));
        }
        let mut moved = Requeued::default();
        // What waits there already stays where it is.
        let mut last = (from == to).then_some(Place { refused: true, sequence: 0 });
        loop {
            let page = self.page(from, last).await?;
            let Some(end) = page.last() else { return Ok(moved) };
            last = Some(end.place());
            moved.envelopes += page.len() as u64;
            moved.samples += page.iter().map(|one| one.envelope.samples).sum::<u64>();
            self.put_back(from, to, page).await?;
        }
    }

    async fn put_back(
        &self,
        from: &str,
        to: &str,
        kept: Vec<StoredEnvelope>,
    ) -> Result<(), String> {
        let (source, target) = (self.reach(from).await?, self.reach(to).await?);
        let envelopes = kept.iter().map(|one| Envelope {
            // What it was made from is settled long ago.
            offset: u64::MAX,
            ..one.envelope.clone()
        });
        let envelopes: Vec<Envelope> = envelopes.collect();
        if !target.fits(&envelopes) {
            return Err(format!("{to} has no room for more now; what is left stays in {from}"));
        }
        // First there, then no longer here: a crash in between doubles it, with the same id.
        SpoolShared::guest(&target).push(envelopes).await;
        source.give(&kept).await
    }

    /// A spool, also if no publisher is there for it.
    async fn reach(&self, name: &str) -> Result<Arc<SpoolShared>, String> {
        if let Some(open) = self.get(name) {
            return Ok(open);
        }
        let found = self.backend.spool(name).await.map_err(|error| Chain(&error).to_string())?;
        let bounds = Bounds { bytes: u64::MAX, count: None, age: None, last: Vec::new() };
        let (how, counts) = ((bounds, WhenFull::DropOldest), Arc::<PublisherCount>::default());
        Ok(Arc::new(SpoolShared::new(name, &self.backend, how, (&counts, found))))
    }
}
