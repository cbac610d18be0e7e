//! Counters of sinks, transformers and publishers, and the reasons for drops.
//!
//! Each number is counted where it arises, never derived from the others, so that the ledger can
//! detect a loss.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::deliveries::DeliveryStats;

/// Why something was dropped. A closed set with fixed names, so that totals are complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// The sink's journal was full.
    JournalFull,
    /// The publisher's spool was full.
    SpoolFull,
    /// `policy=drop` or `policy=queue` of the publisher.
    Policy,
    /// The component rejected the samples.
    Rejected,
    /// The component failed twice on the samples.
    Failed,
    /// The receiver rejected it for good.
    Permanent,
    /// It could not be read from disk.
    Unreadable,
    /// It was pending for longer than `store.age`.
    TooOld,
}

impl Dropped {
    pub(super) const ALL: [Self; 8] = [
        Self::JournalFull,
        Self::SpoolFull,
        Self::Policy,
        Self::Rejected,
        Self::Failed,
        Self::Permanent,
        Self::Unreadable,
        Self::TooOld,
    ];

    /// The name in logs and in the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::JournalFull => "journal_full",
            Self::SpoolFull => "spool_full",
            Self::Policy => "policy",
            Self::Rejected => "rejected",
            Self::Failed => "component_failed",
            Self::Permanent => "permanent",
            Self::Unreadable => "unreadable",
            Self::TooOld => "too_old",
        }
    }
}

/// Drops by reason, and dropped samples by meter where they are known.
#[derive(Debug, Default)]
pub struct DropCounts {
    reasons: [AtomicU64; Dropped::ALL.len()],
    /// Samples by reason and meter.
    meters: Mutex<BTreeMap<(&'static str, String), u64>>,
}

impl DropCounts {
    /// Adds `count` drops.
    pub fn add(&self, reason: Dropped, count: u64) {
        self.reasons[reason as usize].fetch_add(count, Relaxed);
    }

    /// Takes back one drop and its samples by meter: it was put back into the queue.
    pub fn take_back<'a>(&self, reason: Dropped, meters: impl IntoIterator<Item = (&'a str, u64)>) {
        self.reasons[reason as usize].fetch_sub(1, Relaxed);
        let mut known = self.lock();
        for (meter, count) in meters {
            if let Some(samples) = known.get_mut(&(reason.as_str(), meter.to_owned())) {
                *samples = samples.saturating_sub(count);
            }
        }
    }

    /// Adds the samples by meter of what was dropped.
    pub fn add_meters<'a>(
        &self,
        reason: Dropped,
        meters: impl IntoIterator<Item = (&'a str, u64)>,
    ) {
        let mut known = self.lock();
        for (meter, count) in meters {
            *known.entry((reason.as_str(), meter.to_owned())).or_default() += count;
        }
    }

    /// Dropped samples by reason and meter.
    pub fn by_meter(&self) -> BTreeMap<(&'static str, String), u64> {
        self.lock().clone()
    }

    /// The drops for one reason.
    pub fn count(&self, reason: Dropped) -> u64 {
        self.reasons[reason as usize].load(Relaxed)
    }

    /// The drops by reason, zeros included.
    pub fn by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Dropped::ALL.into_iter().map(|reason| (reason.as_str(), self.count(reason)))
    }

    /// The drops for all reasons.
    pub fn total(&self) -> u64 {
        self.reasons.iter().map(|count| count.load(Relaxed)).sum()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(&'static str, String), u64>> {
        // No code under the lock panics half-way, so a poisoned map is still consistent.
        self.meters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for DropCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} dropped", self.total())?;
        let reasons: Vec<String> = Dropped::ALL
            .iter()
            .map(|reason| (reason, self.count(*reason)))
            .filter(|(_, count)| *count > 0)
            .map(|(reason, count)| format!("{} {count}", reason.as_str()))
            .collect();
        if !reasons.is_empty() {
            write!(f, " ({})", reasons.join(", "))?;
        }
        Ok(())
    }
}

/// Samples of one sink, before its transformers: entered = processed + dropped + pending.
#[derive(Debug, Default)]
pub struct SinkCount {
    /// Samples that its sources routed to it.
    pub entered: AtomicU64,
    /// Samples that entered its chain.
    pub processed: AtomicU64,
    /// Samples that were dropped before the chain.
    pub dropped: DropCounts,
    /// Samples in the journal that are not yet processed, as the journal counts them.
    pub pending: AtomicU64,
}

/// Samples of one transformer in one sink: in = passed + absorbed + dropped, out = passed + created.
/// Absorbed samples are those whose ids do not appear in the output.
#[derive(Debug, Default)]
pub struct TransformerCount {
    /// Samples that came in.
    pub samples_in: AtomicU64,
    /// Samples that were passed on unchanged.
    pub passed: AtomicU64,
    /// Samples that the component consumed.
    pub absorbed: AtomicU64,
    /// Samples that were dropped.
    pub dropped: DropCounts,
    /// Samples that the component created.
    pub created: AtomicU64,
}

/// Envelopes of one publisher in one sink: encoded = confirmed + dropped + pending.
#[derive(Debug, Default)]
pub struct PublisherCount {
    /// Envelopes that were encoded for it.
    pub encoded: AtomicU64,
    /// Samples in them.
    pub samples: AtomicU64,
    /// Envelopes that the receiver confirmed.
    pub confirmed: AtomicU64,
    /// Envelopes that were dropped.
    pub dropped: DropCounts,
    /// Envelopes in the spool.
    pub pending: AtomicU64,
    /// Attempts to deliver them.
    pub deliveries: DeliveryStats,
}
