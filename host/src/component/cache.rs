//! Compiled components on disk.
//!
//! Loading such a file is running native code as the agent, so it must be what this agent wrote:
//! it lies in a folder that is ours alone, is ours alone itself, is no link, and its content has
//! the digest that was stored with it. Anything else is refused and made anew. The digest finds
//! damage; against somebody who can write as the agent's user nothing here helps.
//!
//! Code is mapped, not copied: that of a component with an interpreter has 40 MB, which would take
//! the agent that much memory and half of the time of its start. What is mapped is the very file that
//! was checked, whatever its name leads to by then, and files are replaced, never written over.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::compile::CODE;
use super::load::Digest;
use crate::telemetry::events;

/// What follows the code in every file, before its digest; the number changes when the form does.
const MAGIC: &[u8; 16] = b"nephometer-code2";
const TRAILER: u64 = MAGIC.len() as u64 + 32;
/// Read at once.
const CHUNK: usize = 64 << 10;

/// The folder, if it can be used.
pub(super) struct Cache {
    folder: Option<PathBuf>,
    /// What the engine's settings make of compiled code, beside the component itself.
    engine: [u8; 32],
}

impl Cache {
    /// Makes the folder if need be. One that cannot be used is said once; then nothing is kept.
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
        let file = self.file(digest)?;
        match checked(&file).and_then(|code| load(engine, &code)) {
            Ok(component) => Some(component),
            Err(Refusal::Absent) => None,
            Err(Refusal::Because(reason)) => {
                events::component::cache_refused(&file, &reason);
                None
            }
        }
    }

    /// Whether the compiled component is there and sound. What is not is told by [`Cache::get`].
    pub(super) fn has(&self, digest: &Digest) -> bool {
        let Some(file) = self.file(digest) else { return false };
        checked(&file).is_ok()
    }

    /// Keeps what [`compile`](super::compile::compile) has just made, and loads it.
    pub(super) fn adopt(
        &self,
        engine: &Engine,
        digest: &Digest,
        code: &[u8],
    ) -> Result<Component, String> {
        let component = run(engine, code).map_err(|error| format!("{error:#}"))?;
        if let Some(file) = self.file(digest)
            && let Err(error) = write(&file, code)
        {
            events::component::cache_unusable(&file, &error.to_string());
        }
        Ok(component)
    }

    fn file(&self, digest: &Digest) -> Option<PathBuf> {
        let key =
            Sha256::new().chain_update(digest.as_bytes()).chain_update(self.engine).finalize();
        Some(self.folder.as_ref()?.join(format!("{}.cwasm", Digest::from(key))))
    }
}

/// Why a file is not used.
#[derive(Debug)]
enum Refusal {
    Absent,
    Because(String),
}

#[expect(clippy::needless_pass_by_value, reason = "so that `map_err` takes it as it is")]
fn because(reason: impl ToString) -> Refusal {
    Refusal::Because(reason.to_string())
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
fn checked(path: &Path) -> Result<File, Refusal> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let flags = i32::try_from(flags.bits()).map_err(because)?;
    let mut file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(Refusal::Absent),
        Err(error) => return Err(because(error)),
    };
    let found = file.metadata().map_err(because)?;
    if !found.is_file() || found.nlink() != 1 {
        return Err(because("it is no plain file of its own"));
    }
    ours(&found).map_err(Refusal::Because)?;
    let code = found.len().checked_sub(TRAILER).filter(|length| *length <= CODE);
    let Some(code) = code else { return Err(because("it is damaged or not ours")) };
    let digest = digest_of(&mut file, code).map_err(because)?;
    let mut trailer = Vec::new();
    file.read_to_end(&mut trailer).map_err(because)?;
    match trailer.split_at_checked(MAGIC.len()) {
        Some((magic, written)) if magic == MAGIC && written == digest => Ok(file),
        Some((magic, _)) if magic == MAGIC => {
            Err(because("it is damaged: its content is not what was written"))
        }
        _ => Err(because("it is damaged or not ours")),
    }
}

/// Of the next so many bytes.
fn digest_of(file: &mut File, length: u64) -> std::io::Result<[u8; 32]> {
    let mut hasher = Sha256::new();
    let mut left = file.take(length);
    let mut chunk = vec![0; CHUNK];
    loop {
        match left.read(&mut chunk)? {
            0 => return Ok(hasher.finalize().into()),
            count => hasher.update(&chunk[..count]),
        }
    }
}

#[expect(unsafe_code, reason = "compiled code is run as it is; see SAFETY")]
fn load(engine: &Engine, file: &File) -> Result<Component, Refusal> {
    // The file itself: by now its name may lead to another.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    // SAFETY: `deserialize_file` must only be given what `Component::serialize` gave, in a file that
    // does not change afterwards. It is what `write` wrote, of what `compile` made: `prepare` and
    // `checked` made sure that nobody but this user can have put or changed the file, and that it
    // is whole; this program replaces such files and never writes over one. Code of another engine
    // version or other settings has another name and is refused by wasmtime besides.
    unsafe { Component::deserialize_file(engine, path) }.map_err(because)
}

#[expect(unsafe_code, reason = "compiled code is run as it is; see SAFETY")]
fn run(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `deserialize` must only be given what `Component::serialize` gave. `adopt` passes
    // what `compile` made, here or in a child that is this very program and whose output nobody
    // else can reach.
    unsafe { Component::deserialize(engine, code) }
}

/// Writes beside the place and renames, so that a reader never sees half of it.
fn write(path: &Path, code: &[u8]) -> std::io::Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let beside = path.with_extension(format!("{}-{number}.new", std::process::id()));
    let written = create(&beside).and_then(|mut file| {
        file.write_all(code)?;
        file.write_all(MAGIC)?;
        file.write_all(&Sha256::digest(code))?;
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

    fn reason(path: &Path) -> String {
        match checked(path) {
            Ok(_) => "fine".to_owned(),
            Err(Refusal::Absent) => "absent".to_owned(),
            Err(Refusal::Because(reason)) => reason,
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
