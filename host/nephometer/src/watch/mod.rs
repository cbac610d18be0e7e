//! Watches files that a running agent takes up again when they change: components and its own
//! configuration.
//!
//! Given: folders and files. Gives back: one signal after each burst of changes. Must not read
//! them: what a change means is for others to find out.

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

/// A burst is over when nothing has changed for so long: editors and `cp` write in several steps.
const QUIET: Duration = Duration::from_millis(100);
/// The same if the last thing that happened was that a file got its name or that its writer closed
/// it: then it is whole, and what is waited for is only the next file of several.
const WHOLE: Duration = Duration::from_millis(30);
/// Somebody who never stops writing does not keep the rest from being seen.
const LONGEST: Duration = Duration::from_secs(2);
/// How often files are looked at in case nothing was said: links into other folders, and file
/// systems that tell nothing, such as those of the network.
const LOOK: Duration = Duration::from_secs(10);
/// The wait before the first try to watch again after a failure, and the longest one.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// Everything that is watched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watched {
    /// Folders: what is in them, not below.
    pub folders: Vec<PathBuf>,
    /// Single files.
    pub files: Vec<PathBuf>,
}

/// Tells changes.
pub struct Watch {
    watched: Watched,
    signals: mpsc::Receiver<()>,
    sender: mpsc::Sender<()>,
    /// The last that was told leaves no file half written.
    whole: Arc<AtomicBool>,
    /// `None` if the system gives none: then looking has to do.
    watcher: Option<RecommendedWatcher>,
    failing: Option<Failing>,
    views: Vec<Print>,
}

/// The system does not let us watch, such as for want of file descriptors.
#[derive(Debug, Clone, Copy)]
struct Failing {
    /// When to try again.
    next: Instant,
    delay: Duration,
}

impl Failing {
    /// After one more failure.
    fn more(before: Option<Self>, now: Instant) -> Self {
        let (first, longest) = RETRY;
        let delay = before.map_or(first, |before| longest.min(before.delay.saturating_mul(2)));
        Self { next: now + delay, delay }
    }
}

/// What tells two contents of a path apart, without reading it.
type Print = Option<(u64, u64, u64, i64, i64)>;

impl Watch {
    /// Starts watching.
    pub fn new(watched: Watched) -> Self {
        // One signal says all there is to say.
        let (sender, signals) = mpsc::channel(1);
        // What cannot be read yet is a change when it can.
        let views = prints(&watched).unwrap_or_default();
        let whole = Arc::default();
        let mut watch =
            Self { watched, signals, sender, whole, watcher: None, failing: None, views };
        watch.begin();
        watch
    }

    /// Waits for the end of the next burst of changes. Cancel-safe: what came in the meantime is
    /// told by the next call.
    pub async fn changed(&mut self) {
        loop {
            tokio::select! {
                Some(()) = self.signals.recv() => self.quiet().await,
                () = sleep(LOOK) => {}
            }
            // What a name stands for may be another folder by now.
            self.begin();
            // A folder that cannot be read just now has not changed.
            let Ok(now) = prints(&self.watched) else { continue };
            if now != self.views {
                self.views = now;
                return;
            }
        }
    }

    /// Watches, unless that has failed a short time ago. One log line when it begins to fail, and
    /// one when it works again.
    fn begin(&mut self) {
        let now = Instant::now();
        if self.failing.is_some_and(|failing| now < failing.next) {
            return;
        }
        match self.watch() {
            Ok(()) => {
                if self.failing.take().is_some() {
                    events::reload::watching_again();
                }
            }
            Err(error) => {
                if self.failing.is_none() {
                    events::reload::not_watching(&error);
                }
                self.failing = Some(Failing::more(self.failing, now));
            }
        }
    }

    async fn quiet(&mut self) {
        let end = Instant::now() + LONGEST;
        loop {
            let wait = if self.whole.load(Relaxed) { WHOLE } else { QUIET };
            let until = end.min(Instant::now() + wait);
            match timeout_at(until, self.signals.recv()).await {
                Ok(Some(())) if until < end => {}
                _ => return,
            }
        }
    }

    /// Folders themselves, and those that hold a name which is watched: a rename or another link
    /// is a change of the folder around it.
    fn watch(&mut self) -> notify::Result<()> {
        let (sender, whole) = (self.sender.clone(), Arc::clone(&self.whole));
        let mut watcher =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                let complete = event.as_ref().is_ok_and(|event| completes(event.kind));
                let reading = event.is_ok_and(|event| event.kind.is_access());
                if complete || !reading {
                    whole.store(complete, Relaxed);
                    // One is waiting already: it says the same.
                    let _full = sender.try_send(());
                }
            })?;
        let mut places = BTreeSet::new();
        places.extend(self.watched.folders.iter().cloned());
        let named = self.watched.folders.iter().chain(&self.watched.files);
        places.extend(named.filter_map(|path| path.parent()).map(Path::to_owned));
        let mut full = None;
        for place in places {
            // One that is not there yet is seen by looking.
            if let Err(error) = watcher.watch(&place, RecursiveMode::NonRecursive)
                && is_full(&error)
            {
                full = Some(error);
            }
        }
        self.watcher = Some(watcher);
        full.map_or(Ok(()), Err)
    }
}

/// Whether the system has no more watches or file descriptors to give.
fn is_full(error: &notify::Error) -> bool {
    match &error.kind {
        ErrorKind::MaxFilesWatch => true,
        ErrorKind::Io(error) => is_out_of_files(error),
        _ => false,
    }
}

fn is_out_of_files(error: &io::Error) -> bool {
    let full = [Errno::MFILE, Errno::NFILE, Errno::NOSPC, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|error| full.contains(&error))
}

/// Whether it leaves a file as it is meant to be.
fn completes(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Modify(ModifyKind::Name(_))
    )
}

/// Of all components in the folders, and of all files. An error where the system has no file
/// descriptors to give, and not where there is no folder, or none for us.
fn prints(watched: &Watched) -> io::Result<Vec<Print>> {
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
    Ok(paths.iter().map(|path| path.metadata().ok().as_ref().map(print)).collect())
}

fn print(found: &Metadata) -> (u64, u64, u64, i64, i64) {
    (found.dev(), found.ino(), found.len(), found.mtime(), found.mtime_nsec())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::os::unix::fs::symlink;

    use super::*;

    async fn views(watch: &mut Watch, what: &str) {
        let told = tokio::time::timeout(Duration::from_secs(30), watch.changed()).await;
        assert!(told.is_ok(), "{what} was not seen");
    }

    #[tokio::test]
    async fn every_way_to_replace_a_file_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("one")).unwrap();
        fs::create_dir(at("two")).unwrap();
        fs::write(at("one/a.wasm"), "1").unwrap();
        fs::write(at("two/a.wasm"), "22").unwrap();
        symlink(at("one"), at("current")).unwrap();
        let watched = Watched { folders: vec![at("current")], files: vec![at("pipeline.yaml")] };
        let mut watch = Watch::new(watched);

        fs::write(at("one/a.wasm"), "in place").unwrap();
        views(&mut watch, "a write in place").await;
        fs::write(at("one/.a.new"), "renamed").unwrap();
        fs::rename(at("one/.a.new"), at("one/a.wasm")).unwrap();
        views(&mut watch, "a rename").await;
        symlink(at("two"), at("next")).unwrap();
        fs::rename(at("next"), at("current")).unwrap();
        views(&mut watch, "another folder").await;
        fs::write(at("two/a.wasm"), "in the other folder").unwrap();
        views(&mut watch, "a write there").await;
        fs::remove_file(at("two/a.wasm")).unwrap();
        views(&mut watch, "a removal").await;
        fs::write(at("pipeline.yaml"), "sources: []").unwrap();
        views(&mut watch, "a new file").await;
    }

    #[tokio::test]
    async fn a_file_is_whole_when_its_writer_says_so() {
        async fn until(watch: &mut Watch, whole: bool) {
            while watch.whole.load(Relaxed) != whole {
                let told = tokio::time::timeout(Duration::from_secs(30), watch.signals.recv());
                assert!(told.await.is_ok(), "not told that it is whole: {whole}");
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let watched = Watched { folders: vec![folder.path().to_owned()], files: Vec::new() };
        let mut watch = Watch::new(watched);
        watch.whole.store(true, Relaxed);
        let mut file = fs::File::create(at("a.wasm")).unwrap();
        file.write_all(b"part").unwrap();
        until(&mut watch, false).await;
        drop(file);
        until(&mut watch, true).await;
        watch.whole.store(false, Relaxed);
        fs::rename(at("a.wasm"), at("b.wasm")).unwrap();
        until(&mut watch, true).await;
    }

    #[test]
    fn a_failure_is_followed_by_longer_and_longer_waits() {
        let now = Instant::now();
        let mut failing = None;
        let mut waits = Vec::new();
        for _ in 0..9 {
            let next = Failing::more(failing, now);
            assert_eq!(next.next, now + next.delay);
            waits.push(next.delay.as_secs());
            failing = Some(next);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn only_a_want_of_files_is_a_failure() {
        let of = |errno: Errno| is_full(&notify::Error::io(io::Error::from(errno)));
        assert!(of(Errno::MFILE) && of(Errno::NFILE) && of(Errno::NOSPC));
        assert!(is_full(&notify::Error::new(ErrorKind::MaxFilesWatch)));
        assert!(!of(Errno::NOENT) && !of(Errno::ACCESS));
        assert!(!is_full(&notify::Error::path_not_found()));
    }

    #[tokio::test]
    async fn what_is_nobodys_business_is_not_told() {
        let folder = tempfile::tempdir().unwrap();
        let watched = Watched { folders: vec![folder.path().to_owned()], files: Vec::new() };
        let mut watch = Watch::new(watched);
        fs::write(folder.path().join("notes.txt"), "1").unwrap();
        let told = tokio::time::timeout(Duration::from_millis(500), watch.changed()).await;
        assert!(told.is_err());
    }
}
