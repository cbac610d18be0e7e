//! The on-disk cache of compiled components.
//!
//! Loading a cached file runs native code as the agent, so only files that this agent wrote are
//! accepted: owned by its user, inaccessible to others, in a directory with the same properties, no
//! link, written for this component and engine, and with content that matches the stored digest.
//! Any other file is refused and compiled anew. The digest detects damage; nothing here protects
//! against an attacker who can write as the agent's user.
//!
//! Code is mapped, not copied: a component with an interpreter has 40 MB of code, and a copy would
//! cost that much memory and half of the agent's start time. The mapped file is the one that was
//! verified, even if its path has been replaced since. Files are replaced, never overwritten. The
//! least recently used ones are removed ([`Bound::CacheFiles`], [`Bound::CacheBytes`]).

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

/// Follows the code in every file, before key and digest. The number changes with the format.
const MAGIC: &[u8; 16] = b"nephometer-code3";
/// Bytes of magic, key and digest.
const TRAILER_BYTES: u64 = MAGIC.len() as u64 + 64;
/// Bytes per read.
const CHUNK_BYTES: usize = 64 << 10;

/// The cache directory, if it is usable.
pub(super) struct CodeCache {
    folder: Option<PathBuf>,
    /// Hash of the engine settings that compiled code depends on.
    engine: [u8; 32],
}

/// Identifies the component and the engine that a file was written for.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key([u8; 32]);

impl CodeCache {
    /// Creates the directory if necessary. An unusable one is logged once; then nothing is cached.
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

    /// The compiled component, if it is cached and passes verification.
    pub(super) fn get(&self, engine: &Engine, digest: &Digest) -> Option<Component> {
        let key = self.key(digest);
        let file = self.file(key)?;
        let loaded = open_verified(&file, key).and_then(|verified| {
            // Marks the file as recently used. On failure it is only evicted earlier.
            let _ = verified.set_times(FileTimes::new().set_modified(now()));
            code::load(engine, &verified).map_err(|error| rejected(format!("{error:#}")))
        });
        match loaded {
            Ok(component) => Some(component),
            Err(Unusable::Absent) => None,
            Err(Unusable::Rejected(reason)) => {
                events::component::cache_entry_rejected(&file, &reason);
                None
            }
        }
    }

    /// Whether the compiled component is cached and passes verification. Rejected files are logged
    /// by [`CodeCache::get`] only.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        let key = self.key(digest);
        self.file(key).is_some_and(|file| open_verified(&file, key).is_ok())
    }

    /// Stores the output of [`compile`](super::compile::compile) and loads it from the cache, so
    /// that the kernel can reclaim its memory. Loads `compiled` itself if it cannot be stored.
    pub(super) fn store(
        &self,
        engine: &Engine,
        digest: &Digest,
        compiled: &mut File,
    ) -> Result<Component, String> {
        let key = self.key(digest);
        if let Some(file) = self.file(key) {
            match write(&file, compiled, key) {
                Ok(()) => {
                    self.prune();
                    if let Some(component) = self.get(engine, digest) {
                        return Ok(component);
                    }
                }
                Err(error) => events::component::cache_unusable(&file, &error.to_string()),
            }
        }
        code::load(engine, compiled).map_err(|error| format!("{error:#}"))
    }

    fn key(&self, digest: &Digest) -> Key {
        let hasher = Sha256::new().chain_update(digest.as_bytes()).chain_update(self.engine);
        Key(hasher.finalize().into())
    }

    fn file(&self, key: Key) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join(format!("{}.cwasm", Digest::from(key.0))))
    }

    /// Removes the least recently used files beyond the bounds. Loaded code stays mapped.
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

/// Modification time, size in bytes and path of each cached file.
fn cached_files(folder: &Path) -> Vec<(SystemTime, u64, PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "cwasm"))
        .filter_map(|entry| {
            let metadata = entry.metadata().ok()?;
            Some((metadata.modified().ok()?, metadata.len(), entry.path()))
        })
        .collect()
}

#[expect(clippy::disallowed_methods, reason = "a file time, which never reaches a sample")]
fn now() -> SystemTime {
    SystemTime::now()
}

/// Why a file is not used.
#[derive(Debug)]
enum Unusable {
    Absent,
    Rejected(String),
}

#[expect(clippy::needless_pass_by_value, reason = "passed to `map_err` by name")]
fn rejected(reason: impl ToString) -> Unusable {
    Unusable::Rejected(reason.to_string())
}

fn prepare(folder: &Path) -> Result<(), String> {
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent).map_err(|error| error.to_string())?;
        let metadata = fs::symlink_metadata(parent).map_err(|error| error.to_string())?;
        if !metadata.is_dir() {
            return Err(format!(
                "{} is a symbolic link; configure the directory itself",
                parent.display()
            ));
        }
    }
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error.to_string()),
        _ => {}
    }
    let metadata = fs::symlink_metadata(folder).map_err(|error| error.to_string())?;
    if !metadata.is_dir() {
        return Err("not a directory".to_owned());
    }
    check_private(&metadata)
}

/// Checks that only this user can have written there.
fn check_private(metadata: &fs::Metadata) -> Result<(), String> {
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user {
        return Err(format!("owned by user {}, must be owned by user {user}", metadata.uid()));
    }
    if metadata.mode() & 0o077 != 0 {
        let mode = metadata.mode() & 0o7777;
        return Err(format!("mode {mode:o} gives access to other users"));
    }
    Ok(())
}

/// Opens a file and verifies owner, mode, digest and key.
fn open_verified(path: &Path, key: Key) -> Result<File, Unusable> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let flags = i32::try_from(flags.bits()).map_err(rejected)?;
    let mut file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(Unusable::Absent),
        Err(error) => return Err(rejected(error)),
    };
    let metadata = file.metadata().map_err(rejected)?;
    if !metadata.is_file() || metadata.nlink() != 1 {
        return Err(rejected("not a plain file with a single name"));
    }
    check_private(&metadata).map_err(Unusable::Rejected)?;
    let Some(code) = metadata.len().checked_sub(TRAILER_BYTES) else {
        return Err(rejected("damaged or not written by this agent"));
    };
    let digest = hash_of(&mut file, code).map_err(rejected)?;
    let mut trailer = Vec::new();
    file.read_to_end(&mut trailer).map_err(rejected)?;
    let (magic, rest) = trailer.split_at_checked(MAGIC.len()).unwrap_or_default();
    let (written_for, written) = rest.split_at_checked(key.0.len()).unwrap_or_default();
    if magic != MAGIC {
        return Err(rejected("damaged or not written by this agent"));
    }
    if written != &*digest.chain_update(written_for).finalize() {
        return Err(rejected("damaged: digest does not match the content"));
    }
    if written_for != key.0 {
        return Err(rejected("written for another component or engine"));
    }
    Ok(file)
}

/// Hashes the next `length` bytes.
fn hash_of(file: &mut File, length: u64) -> std::io::Result<Sha256> {
    let mut hasher = Sha256::new();
    let mut left = file.take(length);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match left.read(&mut chunk)? {
            0 => return Ok(hasher),
            count => hasher.update(&chunk[..count]),
        }
    }
}

/// Writes a temporary file and renames it: readers never see a partial file.
fn write(path: &Path, code: &mut File, key: Key) -> std::io::Result<()> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let temporary = path.with_extension(format!("{}-{number}.new", std::process::id()));
    let length = code.metadata()?.len();
    code.rewind()?;
    let digest = hash_of(code, length)?.chain_update(key.0).finalize();
    code.rewind()?;
    let written = create(&temporary).and_then(|mut file| {
        std::io::copy(code, &mut file)?;
        file.write_all(MAGIC)?;
        // The digest covers code and key.
        file.write_all(&key.0)?;
        file.write_all(&digest)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    });
    if written.is_err() {
        // Best effort: the error that matters is the first one.
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn create(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Hash of the engine settings that compiled code depends on.
fn compatibility(engine: &Engine) -> [u8; 32] {
    /// A hasher whose result is independent of the standard library.
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
        match open_verified(path, KEY) {
            Ok(_) => "ok".to_owned(),
            Err(Unusable::Absent) => "absent".to_owned(),
            Err(Unusable::Rejected(reason)) => reason,
        }
    }

    #[test]
    fn only_intact_private_files_are_accepted() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.cwasm");
        assert_eq!(reason(&file), "absent");
        write(&file, b"code").unwrap();
        assert_eq!(reason(&file), "ok");

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
        assert!(!["ok", "absent"].contains(&reason(&link).as_str()));
        fs::hard_link(&file, folder.path().join("hard.cwasm")).unwrap();
        assert!(reason(&file).contains("plain file"));
    }

    // Regression: a valid file under another component's name was run as that component.
    #[test]
    fn cached_file_is_bound_to_its_component_and_engine() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.cwasm");
        write(&file, b"code").unwrap();
        let Err(Unusable::Rejected(reason)) = open_verified(&file, Key([8; 32])) else {
            panic!("accepted")
        };
        assert!(reason.contains("another component"), "{reason}");
    }

    #[test]
    fn least_recently_used_files_are_pruned() {
        let folder = tempfile::tempdir().unwrap();
        let cache = CodeCache { folder: Some(folder.path().to_owned()), engine: [0; 32] };
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
    fn directory_accessible_to_others_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("cache").join("components");
        prepare(&folder).unwrap();
        prepare(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(prepare(&folder).unwrap_err().contains("777"));
        let link = parent.path().join("components");
        symlink(&folder, &link).unwrap();
        assert!(prepare(&link).unwrap_err().contains("not a directory"));
    }

    #[test]
    fn failed_write_leaves_no_temporary_file() {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("x.cwasm"), b"code").unwrap();
        assert!(write(&folder.path().join("absent/x.cwasm"), b"code").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
