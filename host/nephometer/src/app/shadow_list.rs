//! The shadows of an agent, for those who ask what they have found, those that were promoted, and the
//! guards of changes.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use nephometer_pipeline::{GuardReport, ShadowReport};
use nephometer_wasm::ComponentStats;

/// A shadow of one transformer of a sink.
#[derive(Debug)]
pub(super) struct ShadowEntry {
    pub(super) sink: Arc<str>,
    pub(super) index: usize,
    pub(super) component: Arc<str>,
    /// The value of `shadow`.
    pub(super) source: String,
    pub(super) live: [u8; 32],
    /// `None` if it cannot be found.
    pub(super) digest: Option<[u8; 32]>,
    /// The counters of the live component when the shadow began.
    pub(super) before: Option<ComponentStats>,
    pub(super) report: ShadowReport,
}

impl ShadowEntry {
    /// The place in the pipeline, as in the counters of components.
    pub(super) fn place(&self) -> String {
        format!("{}/{}", self.sink, self.index)
    }
}

/// A shadow that was promoted. Digests are in hexadecimal digits.
#[derive(Debug, Clone)]
pub(super) struct PromotedEntry {
    pub(super) component: String,
    pub(super) digest: String,
    /// The digest of the configured component.
    pub(super) replaces: String,
    /// Why the configured one was rolled back, if a guard did that.
    pub(super) guard: Option<String>,
}

/// The last guarded change of a sink.
#[derive(Debug)]
pub(super) struct GuardEntry {
    pub(super) sink: Arc<str>,
    /// The components with other code, with the digests before and now.
    pub(super) components: Vec<(Arc<str>, [u8; 32], [u8; 32])>,
    pub(super) report: GuardReport,
    /// The file with what has to be corrected, or why there is none, after a rollback.
    pub(super) correction: OnceLock<Result<PathBuf, String>>,
}

/// The shadows of an agent, for those who ask. A clone is the same list.
#[derive(Debug, Clone, Default)]
pub(super) struct ShadowList(Arc<Mutex<ListedShadows>>);

#[derive(Debug, Default)]
struct ListedShadows {
    running: Vec<Arc<ShadowEntry>>,
    promoted: Vec<PromotedEntry>,
    guards: Vec<Arc<GuardEntry>>,
}

impl ShadowList {
    /// Those that run, in the order of the pipeline.
    pub(super) fn all(&self) -> Vec<Arc<ShadowEntry>> {
        self.lock().running.clone()
    }

    pub(super) fn replace(&self, entries: Vec<Arc<ShadowEntry>>) {
        self.lock().running = entries;
    }

    /// The last guarded change of each sink.
    pub(super) fn guards(&self) -> Vec<Arc<GuardEntry>> {
        self.lock().guards.clone()
    }

    /// Adds a guarded change, in the place of the one before in its sink.
    pub(super) fn add_guard(&self, entry: GuardEntry) {
        let mut listed = self.lock();
        listed.guards.retain(|one| one.sink != entry.sink);
        listed.guards.push(Arc::new(entry));
        listed.guards.sort_by(|one, other| one.sink.cmp(&other.sink));
    }

    /// Those that were promoted, by component.
    pub(super) fn promoted(&self) -> Vec<PromotedEntry> {
        self.lock().promoted.clone()
    }

    pub(super) fn replace_promoted(&self, entries: Vec<PromotedEntry>) {
        self.lock().promoted = entries;
    }

    fn lock(&self) -> MutexGuard<'_, ListedShadows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
