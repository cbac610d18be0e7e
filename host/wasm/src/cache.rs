//! Compiled components on disk.
//!
//! Loading such a file is running native code as the agent, so it must be what this agent wrote:
//! it lies in a folder that is ours alone, is ours alone itself, is no link, was written for this component and
//! this engine, and its content has the digest that was stored with it. Anything else is refused and made anew. The digest finds
//! damage; against somebody who can write as the agent's user nothing here helps.
//!
//! Code is mapped, not copied: that of a component with an interpreter has 40 MB, which would take
//! the agent that much memory and half of the time of its start. What is mapped is the very file that
//! was checked, whatever its name leads to by then, and files are replaced, never written over. Files that
//! were not used for the longest are removed ([`Bound::CacheFiles`], [`Bound::CacheBytes`]).

use std::fs::{self, DirBuilder, File, FileTimes, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::code;
use super::digest::Digest;
use nephometer_model::Bound;
use nephometer_telemetry::events;

/// What follows the code in every file, before its key and its digest; the number changes when the form does.
const MAGIC: &[u8; 16] = b"nephometer-code3";
const TRAILER: u64 = MAGIC.len() as u64 + 64;
/// Read at once.
const CHUNK: usize = 64 << 10;

/// The folder, if it can be used.
pub(super) struct Cache {
    folder: Option<PathBuf>,
    /// What the engine's settings make of compiled code, beside the component itself.
    engine: [u8; 32],
}

/// What a file is for: of the component's digest and the engine.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key([u8; 32]);

impl Cache {
    /// Makes the folder if need be. One that cannot be used is logged once; then nothing is kept.
    pub(super) fn open(path: &Path, engine: &Engine) -> Self {
        let folder = path.join("components");
        let folder = match prepare(&folder) {
            Ok(()) => Some(folder),
            Err(reason) => {
                events::component::cache_unusable(&folder, &reason);
                None
            }
        };
        Self { folder, engine: compatibility(engine) }
    }

    /// The compiled component, if it is there and sound.
    pub(super) fn get(&self, engine: &Engine, digest: &Digest) -> Option<Component> {
        let key = self.key(digest);
        let file = self.file(key)?;
        let loaded = checked(&file, key).and_then(|found| {
            // The files that were used last are kept. A time that cannot be set costs a file its place only.
            let _ = found.set_times(FileTimes::new().set_modified(now()));
            code::load(engine, &found).map_err(|error| because(format!("{error:#}")))
        });
        match loaded {
            Ok(component) => Some(component),
            Err(Unusable::Absent) => None,
            Err(Unusable::Because(reason)) => {
                events::component::cache_entry_rejected(&file, &reason);
                None
            }
        }
    }

    /// Whether the compiled component is there and sound. What is not is logged by [`Cache::get`].
    pub(super) fn has(&self, digest: &Digest) -> bool {
        let key = self.key(digest);
        self.file(key).is_some_and(|file| checked(&file, key).is_ok())
    }

    /// Keeps what [`compile`](super::compile::compile) has just made, and loads it: from the folder, so that its
    /// memory is the kernel's to take back, or from where it is if it cannot be kept.
    pub(super) fn adopt(
        &self,
        engine: &Engine,
        digest: &Digest,
        made: &mut File,
    ) -> Result<Component, String> {
        let key = self.key(digest);
        if let Some(file) = self.file(key) {
            match write(&file, made, key) {
                Ok(()) => {
                    self.prune();
                    if let Some(component) = self.get(engine, digest) {
                        return Ok(component);
                    }
                }
                Err(error) => events::component::cache_unusable(&file, &error.to_string()),
            }
        }
        code::load(engine, made).map_err(|error| format!("{error:#}"))
    }

    fn key(&self, digest: &Digest) -> Key {
        let hashed = Sha256::new().chain_update(digest.as_bytes()).chain_update(self.engine);
        Key(hashed.finalize().into())
    }

    fn file(&self, key: Key) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join(format!("{}.cwasm", Digest::from(key.0))))
    }

    /// Removes what was not used for the longest, beyond what is kept. Code that is loaded stays mapped.
    fn prune(&self) {
        let Some(folder) = &self.folder else { return };
        let mut files = cached_files(folder);
        files.sort_by_key(|(modified, ..)| std::cmp::Reverse(*modified));
        let mut bytes = 0_u64;
        for (index, (_, size, path)) in files.iter().enumerate() {
            bytes = bytes.saturating_add(*size);
            let keep = index < Bound::CacheFiles.size() && bytes <= Bound::CacheBytes.most();
            if !keep && let Err(error) = fs::remove_file(path) {
                events::component::cache_unusable(path, &error.to_string());
            }
        }
    }
}

/// Modification time, size and path of what is in the folder.
fn cached_files(folder: &Path) -> Vec<(SystemTime, u64, PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "cwasm"))
        .filter_map(|entry| {
            let found = entry.metadata().ok()?;
            Some((found.modified().ok()?, found.len(), entry.path()))
        })
        .collect()
}

#[expect(clippy::disallowed_methods, reason = "a file's time, which no sample is made of")]
fn now() -> SystemTime {
    SystemTime::now()
}

/// Why a file is not used.
#[derive(Debug)]
enum Unusable {
    Absent,
    Because(String),
}

#[expect(clippy::needless_pass_by_value, reason = "so that `map_err` takes it as it is")]
fn because(reason: impl ToString) -> Unusable {
    Unusable::Because(reason.to_string())
}

fn prepare(folder: &Path) -> Result<(), String> {
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent).map_err(|error| error.to_string())?;
        let found = fs::symlink_metadata(parent).map_err(|error| error.to_string())?;
        if !found.is_dir() {
            return Err(format!("{} is a link; name the folder itself", parent.display()));
        }
    }
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error.to_string()),
        _ => {}
    }
    let found = fs::symlink_metadata(folder).map_err(|error| error.to_string())?;
    if !found.is_dir() {
        return Err("it is no folder".to_owned());
    }
    ours(&found)
}

/// Whether nobody else can have written there.
fn ours(found: &fs::Metadata) -> Result<(), String> {
    let me = rustix::process::geteuid().as_raw();
    if found.uid() != me {
        return Err(format!("it belongs to user {}, not to {me}", found.uid()));
    }
    if found.mode() & 0o077 != 0 {
        return Err(format!("others have access to it (mode {:o})", found.mode() & 0o7777));
    }
    Ok(())
}

/// The file, once its content has been found to be what was written.
fn checked(path: &Path, key: Key) -> Result<File, Unusable> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let flags = i32::try_from(flags.bits()).map_err(because)?;
    let mut file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(Unusable::Absent),
        Err(error) => return Err(because(error)),
    };
    let found = file.metadata().map_err(because)?;
    if !found.is_file() || found.nlink() != 1 {
        return Err(because("it is no plain file of its own"));
    }
    ours(&found).map_err(Unusable::Because)?;
    let Some(code) = found.len().checked_sub(TRAILER) else {
        return Err(because("it is damaged or not ours"));
    };
    let digest = hash_of(&mut file, code).map_err(because)?;
    let mut trailer = Vec::new();
    file.read_to_end(&mut trailer).map_err(because)?;
    let (magic, rest) = trailer.split_at_checked(MAGIC.len()).unwrap_or_default();
    let (written_for, written) = rest.split_at_checked(key.0.len()).unwrap_or_default();
    if magic != MAGIC {
        return Err(because("it is damaged or not ours"));
    }
    if written != &*digest.chain_update(written_for).finalize() {
        return Err(because("it is damaged: its content is not what was written"));
    }
    if written_for != key.0 {
        return Err(because("it was written for another component or engine"));
    }
    Ok(file)
}

/// Of the next so many bytes.
fn hash_of(file: &mut File, length: u64) -> std::io::Result<Sha256> {
    let mut hasher = Sha256::new();
    let mut left = file.take(length);
    let mut chunk = vec![0; CHUNK];
    loop {
        match left.read(&mut chunk)? {
            0 => return Ok(hasher),
            count => hasher.update(&chunk[..count]),
        }
    }
}

/// Writes beside the place and renames, so that a reader never sees half of it.
fn write(path: &Path, code: &mut File, key: Key) -> std::io::Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let beside = path.with_extension(format!("{}-{number}.new", std::process::id()));
    let length = code.metadata()?.len();
    code.rewind()?;
    let digest = hash_of(code, length)?.chain_update(key.0).finalize();
    code.rewind()?;
    let written = create(&beside).and_then(|mut file| {
        std::io::copy(code, &mut file)?;
        file.write_all(MAGIC)?;
        // The digest covers the key by being behind it in a file that only this user can write.
        file.write_all(&key.0)?;
        file.write_all(&digest)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    });
    if written.is_err() {
        // Best effort: the error that matters is the first one.
        let _ = fs::remove_file(&beside);
    }
    written
}

fn create(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Everything in the engine that compiled code depends on.
fn compatibility(engine: &Engine) -> [u8; 32] {
    /// A hasher whose result does not depend on the standard library's choice.
    struct Stable(Sha256);
    impl Hasher for Stable {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut hasher = Stable(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.0.finalize().into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    const KEY: Key = Key([7; 32]);

    fn write(path: &Path, code: &[u8]) -> std::io::Result<()> {
        let mut file = tempfile::tempfile()?;
        file.write_all(code)?;
        super::write(path, &mut file, KEY)
    }

    fn reason(path: &Path) -> String {
        match checked(path, KEY) {
            Ok(_) => "fine".to_owned(),
            Err(Unusable::Absent) => "absent".to_owned(),
            Err(Unusable::Because(reason)) => reason,
        }
    }

    #[test]
    fn only_whole_files_of_our_own_are_taken() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.cwasm");
        assert_eq!(reason(&file), "absent");
        write(&file, b"code").unwrap();
        assert_eq!(reason(&file), "fine");

        let whole = fs::read(&file).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&file, &bytes).unwrap();
            assert!(reason(&file).contains("damaged"), "byte {at}");
            fs::write(&file, &whole[..at]).unwrap();
            assert!(reason(&file).contains("damaged"), "{at} bytes");
        }

        write(&file, b"code").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(reason(&file).contains("mode 640"));

        write(&file, b"code").unwrap();
        let link = folder.path().join("link.cwasm");
        symlink(&file, &link).unwrap();
        assert!(!["fine", "absent"].contains(&reason(&link).as_str()));
        fs::hard_link(&file, folder.path().join("hard.cwasm")).unwrap();
        assert!(reason(&file).contains("plain file"));
    }

    // A good file under another component's name was once run as that component.
    #[test]
    fn a_file_is_bound_to_its_component_and_engine() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.cwasm");
        write(&file, b"code").unwrap();
        let Err(Unusable::Because(reason)) = checked(&file, Key([8; 32])) else { panic!("taken") };
        assert!(reason.contains("another component"), "{reason}");
    }

    #[test]
    fn only_what_was_used_last_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache { folder: Some(folder.path().to_owned()), engine: [0; 32] };
        let count = Bound::CacheFiles.size() + 3;
        for number in 0..count {
            let file = folder.path().join(format!("{number}.cwasm"));
            write(&file, b"code").unwrap();
            let used = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(number as u64);
            let times = FileTimes::new().set_modified(used);
            File::options().write(true).open(&file).unwrap().set_times(times).unwrap();
        }
        cache.prune();
        let kept = |number: usize| folder.path().join(format!("{number}.cwasm")).exists();
        assert_eq!((kept(2), kept(3), kept(count - 1)), (false, true, true));
    }

    #[test]
    fn a_folder_that_others_may_write_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("cache").join("components");
        prepare(&folder).unwrap();
        prepare(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(prepare(&folder).unwrap_err().contains("777"));
        let link = parent.path().join("components");
        symlink(&folder, &link).unwrap();
        assert!(prepare(&link).unwrap_err().contains("no folder"));
    }

    #[test]
    fn writing_leaves_nothing_beside() {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("x.cwasm"), b"code").unwrap();
        assert!(write(&folder.path().join("absent/x.cwasm"), b"code").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
