//! Watches the components and configuration files that a running agent reloads.
//!
//! Takes folders and files, and signals once after each burst of changes. Uses inotify, and scans in
//! case it is unavailable or misses a change. Never reads the files.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{ErrorKind, RecommendedWatcher, RecursiveMode, Watcher};
use rustix::io::Errno;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};

use nephometer_telemetry::events;

/// A burst ends when nothing has changed for this long: editors and `cp` write in several steps.
const QUIET_PARTIAL: Duration = Duration::from_millis(100);
/// The same after a file was renamed or closed by its writer. The file is complete then; other files
/// of the burst may follow.
const QUIET_COMPLETE: Duration = Duration::from_millis(30);
/// A burst ends after this time even if a program never stops writing.
const MAX_BURST: Duration = Duration::from_secs(2);
/// The interval of scans, for changes without an event: links into other folders, and network file
/// systems.
const SCAN_INTERVAL: Duration = Duration::from_secs(10);
/// The first and the longest delay before watching is tried again after a failure.
const RETRY_DELAY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// The files to watch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WatchedPaths {
    /// Folders. Files in them are watched, those in their subfolders are not.
    pub folders: Vec<PathBuf>,
    /// Single files.
    pub files: Vec<PathBuf>,
}

/// Signals changes of files.
pub struct FileWatcher {
    watched: WatchedPaths,
    signals: mpsc::Receiver<()>,
    sender: mpsc::Sender<()>,
    /// Whether the last event leaves its file complete.
    complete: Arc<AtomicBool>,
    /// `None` if the system has no watches left; then only scans find changes.
    watcher: Option<RecommendedWatcher>,
    backoff: Option<Backoff>,
    fingerprints: Vec<Fingerprint>,
}

/// The delay after watching has failed, such as for lack of file descriptors.
#[derive(Debug, Clone, Copy)]
struct Backoff {
    retry_at: Instant,
    delay: Duration,
}

impl Backoff {
    /// The delay after one more failure.
    fn next(before: Option<Self>, now: Instant) -> Self {
        let (first, longest) = RETRY_DELAY;
        let delay = before.map_or(first, |before| longest.min(before.delay.saturating_mul(2)));
        Self { retry_at: now + delay, delay }
    }
}

/// Device, inode, size and modification time: they differ if the content of a path does. `None` if
/// there is no file.
type Fingerprint = Option<(u64, u64, u64, i64, i64)>;

impl FileWatcher {
    /// Starts watching.
    pub fn new(watched: WatchedPaths) -> Self {
        // Signals carry no data, so one is enough.
        let (sender, signals) = mpsc::channel(1);
        // A folder that cannot be read now counts as changed when it can.
        let fingerprints = fingerprints(&watched).unwrap_or_default();
        let (complete, watcher, backoff) = (Arc::default(), None, None);
        let mut this = Self { watched, signals, sender, complete, watcher, backoff, fingerprints };
        this.start_watching();
        this
    }

    /// Watches these paths from now on.
    pub fn set_paths(&mut self, watched: WatchedPaths) {
        if self.watched != watched {
            *self = Self::new(watched);
        }
    }

    /// Waits for the end of the next burst of changes. Cancel-safe: the next call returns changes that
    /// happened in between.
    pub async fn changed(&mut self) {
        loop {
            tokio::select! {
                Some(()) = self.signals.recv() => self.wait_for_quiet().await,
                () = sleep(SCAN_INTERVAL) => {}
            }
            // A watched name may stand for another folder by now.
            self.start_watching();
            // A scan without file descriptors finds no change.
            let Ok(now) = fingerprints(&self.watched) else { continue };
            if now != self.fingerprints {
                self.fingerprints = now;
                return;
            }
        }
    }

    /// Starts watching, unless that has failed a short time ago. Logs the first failure, and the
    /// recovery.
    fn start_watching(&mut self) {
        let now = Instant::now();
        if self.backoff.is_some_and(|backoff| now < backoff.retry_at) {
            return;
        }
        match self.watch() {
            Ok(()) => {
                if self.backoff.take().is_some() {
                    events::reload::file_watching_available();
                }
            }
            Err(error) => {
                if self.backoff.is_none() {
                    events::reload::file_watching_unavailable(&error);
                }
                self.backoff = Some(Backoff::next(self.backoff, now));
            }
        }
    }

    async fn wait_for_quiet(&mut self) {
        let end = Instant::now() + MAX_BURST;
        loop {
            let complete = self.complete.load(Relaxed);
            let wait = if complete { QUIET_COMPLETE } else { QUIET_PARTIAL };
            let until = end.min(Instant::now() + wait);
            match timeout_at(until, self.signals.recv()).await {
                Ok(Some(())) if until < end => {}
                _ => return,
            }
        }
    }

    /// Watches the folders, and the parents of all paths: a rename or a new link is an event of the
    /// parent.
    fn watch(&mut self) -> notify::Result<()> {
        let (sender, complete) = (self.sender.clone(), Arc::clone(&self.complete));
        let mut watcher =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                let completes = event.as_ref().is_ok_and(|event| completes(event.kind));
                let is_access = event.is_ok_and(|event| event.kind.is_access());
                if completes || !is_access {
                    complete.store(completes, Relaxed);
                    // A signal that is pending already is enough.
                    let _full = sender.try_send(());
                }
            })?;
        let mut folders = BTreeSet::new();
        folders.extend(self.watched.folders.iter().cloned());
        let paths = self.watched.folders.iter().chain(&self.watched.files);
        folders.extend(paths.filter_map(|path| path.parent()).map(Path::to_owned));
        let mut exhausted = None;
        for folder in folders {
            // A scan finds a folder that does not exist yet.
            if let Err(error) = watcher.watch(&folder, RecursiveMode::NonRecursive)
                && is_exhausted(&error)
            {
                exhausted = Some(error);
            }
        }
        self.watcher = Some(watcher);
        exhausted.map_or(Ok(()), Err)
    }
}

/// Whether the system has no watches or file descriptors left.
fn is_exhausted(error: &notify::Error) -> bool {
    match &error.kind {
        ErrorKind::MaxFilesWatch => true,
        ErrorKind::Io(error) => is_out_of_files(error),
        _ => false,
    }
}

fn is_out_of_files(error: &io::Error) -> bool {
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOSPC, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|error| exhausted.contains(&error))
}

/// Whether a file is complete after this event: its writer has closed it, or it was renamed.
fn completes(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Modify(ModifyKind::Name(_))
    )
}

/// The fingerprints of all components in the folders, and of all files. A folder that is missing or
/// not readable has none.
///
/// # Errors
/// If the system has no file descriptors left.
fn fingerprints(watched: &WatchedPaths) -> io::Result<Vec<Fingerprint>> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for folder in &watched.folders {
        let entries = match folder.read_dir() {
            Err(error) if is_out_of_files(&error) => return Err(error),
            entries => entries.into_iter().flatten().filter_map(Result::ok),
        };
        let wasm = entries.map(|entry| entry.path());
        paths.extend(wasm.filter(|path| path.extension().is_some_and(|end| end == "wasm")));
    }
    paths.sort();
    paths.extend(watched.files.iter().cloned());
    Ok(paths.iter().map(|path| path.metadata().ok().as_ref().map(fingerprint)).collect())
}

fn fingerprint(found: &Metadata) -> (u64, u64, u64, i64, i64) {
    (found.dev(), found.ino(), found.len(), found.mtime(), found.mtime_nsec())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::os::unix::fs::symlink;

    use super::*;

    async fn expect_change(watcher: &mut FileWatcher, what: &str) {
        let changed = tokio::time::timeout(Duration::from_secs(30), watcher.changed()).await;
        assert!(changed.is_ok(), "{what} was not noticed");
    }

    #[tokio::test]
    async fn every_way_to_replace_a_file_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("one")).unwrap();
        fs::create_dir(at("two")).unwrap();
        fs::write(at("one/a.wasm"), "1").unwrap();
        fs::write(at("two/a.wasm"), "22").unwrap();
        symlink(at("one"), at("current")).unwrap();
        let watched =
            WatchedPaths { folders: vec![at("current")], files: vec![at("pipeline.yaml")] };
        let mut watcher = FileWatcher::new(watched);

        fs::write(at("one/a.wasm"), "in place").unwrap();
        expect_change(&mut watcher, "a write in place").await;
        fs::write(at("one/.a.new"), "renamed").unwrap();
        fs::rename(at("one/.a.new"), at("one/a.wasm")).unwrap();
        expect_change(&mut watcher, "a rename").await;
        symlink(at("two"), at("next")).unwrap();
        fs::rename(at("next"), at("current")).unwrap();
        expect_change(&mut watcher, "another folder").await;
        fs::write(at("two/a.wasm"), "in the other folder").unwrap();
        expect_change(&mut watcher, "a write there").await;
        fs::remove_file(at("two/a.wasm")).unwrap();
        expect_change(&mut watcher, "a removal").await;
        fs::write(at("pipeline.yaml"), "sources: []").unwrap();
        expect_change(&mut watcher, "a new file").await;
    }

    #[tokio::test]
    async fn a_file_is_complete_when_it_is_closed_or_renamed() {
        async fn until(watcher: &mut FileWatcher, complete: bool) {
            while watcher.complete.load(Relaxed) != complete {
                let signal = tokio::time::timeout(Duration::from_secs(30), watcher.signals.recv());
                assert!(signal.await.is_ok(), "complete did not become {complete}");
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let watched = WatchedPaths { folders: vec![folder.path().to_owned()], files: Vec::new() };
        let mut watcher = FileWatcher::new(watched);
        watcher.complete.store(true, Relaxed);
        let mut file = fs::File::create(at("a.wasm")).unwrap();
        file.write_all(b"part").unwrap();
        until(&mut watcher, false).await;
        drop(file);
        until(&mut watcher, true).await;
        watcher.complete.store(false, Relaxed);
        fs::rename(at("a.wasm"), at("b.wasm")).unwrap();
        until(&mut watcher, true).await;
    }

    #[test]
    fn the_retry_delay_doubles_up_to_a_minute() {
        let now = Instant::now();
        let mut backoff = None;
        let mut delays = Vec::new();
        for _ in 0..9 {
            let next = Backoff::next(backoff, now);
            assert_eq!(next.retry_at, now + next.delay);
            delays.push(next.delay.as_secs());
            backoff = Some(next);
        }
        assert_eq!(delays, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn only_exhausted_resources_are_a_failure() {
        let of = |errno: Errno| is_exhausted(&notify::Error::io(io::Error::from(errno)));
        assert!(of(Errno::MFILE) && of(Errno::NFILE) && of(Errno::NOSPC));
        assert!(is_exhausted(&notify::Error::new(ErrorKind::MaxFilesWatch)));
        assert!(!of(Errno::NOENT) && !of(Errno::ACCESS));
        assert!(!is_exhausted(&notify::Error::path_not_found()));
    }

    #[tokio::test]
    async fn other_files_are_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let watched = WatchedPaths { folders: vec![folder.path().to_owned()], files: Vec::new() };
        let mut watcher = FileWatcher::new(watched);
        fs::write(folder.path().join("notes.txt"), "1").unwrap();
        let changed = tokio::time::timeout(Duration::from_millis(500), watcher.changed()).await;
        assert!(changed.is_err());
    }
}
