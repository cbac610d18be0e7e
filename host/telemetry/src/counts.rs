//! Counters of what a sink, a transformer and a publisher do.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Why something was dropped. Closed, with fixed words, so that totals can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// The sink's journal was full.
    JournalFull,
    /// The publisher's spool was full.
    SpoolFull,
    /// `policy=drop` or `policy=queue` of the publisher.
    Policy,
    /// The component refused the rows.
    Rejected,
    /// The component failed twice on the rows.
    Failed,
    /// The receiver will never take it.
    Permanent,
    /// What was kept on disk could not be read.
    Unreadable,
    /// It was held for longer than `store.age`.
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

    /// The word in logs and in the ledger.
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

/// Drops by reason, and by meter where it is known which samples they were.
#[derive(Debug, Default)]
pub struct DropCounts {
    reasons: [AtomicU64; Dropped::ALL.len()],
    /// Samples by reason and meter. Locked to look or to add.
    meters: Mutex<BTreeMap<(&'static str, String), u64>>,
}

impl DropCounts {
    /// Counts `count` more.
    pub fn add(&self, reason: Dropped, count: u64) {
        self.reasons[reason as usize].fetch_add(count, Relaxed);
    }

    /// Counts one less, with these samples: it was put back.
    pub fn take_back<'a>(&self, reason: Dropped, meters: impl IntoIterator<Item = (&'a str, u64)>) {
        self.reasons[reason as usize].fetch_sub(1, Relaxed);
        let mut known = self.lock();
        for (meter, count) in meters {
            if let Some(samples) = known.get_mut(&(reason.as_str(), meter.to_owned())) {
                *samples = samples.saturating_sub(count);
            }
        }
    }

    /// Says which samples were in what was dropped.
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

    /// Samples by reason and meter.
    pub fn by_meter(&self) -> BTreeMap<(&'static str, String), u64> {
        self.lock().clone()
    }

    /// For one reason.
    pub fn of(&self, reason: Dropped) -> u64 {
        self.reasons[reason as usize].load(Relaxed)
    }

    /// All reasons together.
    pub fn total(&self) -> u64 {
        self.reasons.iter().map(|count| count.load(Relaxed)).sum()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(&'static str, String), u64>> {
        // Nothing between lock and unlock can panic half-way, so that the map is whole.
        self.meters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for DropCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} dropped", self.total())?;
        let reasons: Vec<String> = Dropped::ALL
            .iter()
            .map(|reason| (reason, self.of(*reason)))
            .filter(|(_, count)| *count > 0)
            .map(|(reason, count)| format!("{} {count}", reason.as_str()))
            .collect();
        if !reasons.is_empty() {
            write!(f, " ({})", reasons.join(", "))?;
        }
        Ok(())
    }
}

/// Samples of one sink, before its transformers: entered = processed + dropped + held. Each is counted
/// where it happens, none from the others, so that a breach shows.
#[derive(Debug, Default)]
pub struct SinkCount {
    /// Samples that its sources had for it.
    pub entered: AtomicU64,
    /// Samples that went into its chain.
    pub processed: AtomicU64,
    /// Samples that never got there.
    pub dropped: DropCounts,
    /// Samples that are in the journal and have yet to get there, as the journal counts them.
    pub held: AtomicU64,
}

/// Rows of one transformer in one sink: in = passed + absorbed + dropped, out = passed + made. What was
/// absorbed is counted by the ids that did not come out again.
#[derive(Debug, Default)]
pub struct TransformerCount {
    /// Rows that came in.
    pub rows_in: AtomicU64,
    /// Rows that went on as they were.
    pub passed: AtomicU64,
    /// Rows that the component kept to itself.
    pub absorbed: AtomicU64,
    /// Rows that were lost.
    pub dropped: DropCounts,
    /// Rows that are the component's own.
    pub made: AtomicU64,
}

/// Envelopes of one publisher in one sink: encoded = confirmed + dropped + held.
#[derive(Debug, Default)]
pub struct PublisherCount {
    /// Envelopes that were made for it.
    pub encoded: AtomicU64,
    /// Samples in them.
    pub samples: AtomicU64,
    /// Envelopes that the receiver has.
    pub confirmed: AtomicU64,
    /// Envelopes that were lost.
    pub dropped: DropCounts,
    /// Envelopes in the spool.
    pub held: AtomicU64,
}
