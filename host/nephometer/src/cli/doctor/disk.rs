//! The disk of the store: owner and mode of the folder, space, and whether data can be made durable.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::{OFlags, statvfs};

use super::Diagnosis;
use nephometer_config::AgentSpec;

const CHECK: &str = "disk";
/// The store's database. What it takes now is not needed in addition.
const DATABASE: &str = "agent.redb";
/// With less than this no batch may fit.
const LEAST: u64 = 64 << 20;
const MIB: u64 = 1 << 20;
/// A disk on which a sync takes longer slows polling down.
const SLOW_MILLIS: u128 = 500;

/// The process that has the store locked, if one has. The lock is not touched: an agent that starts at
/// this moment would fail.
pub(super) fn holder(store: &Path) -> Option<u32> {
    let lock = store.join("lock");
    let inode = fs::metadata(&lock).ok()?.ino();
    let table = fs::read_to_string("/proc/locks").ok()?;
    let is_it = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let file = fields.get(5).and_then(|id| id.rsplit(':').next());
        fields.get(1) == Some(&"FLOCK") && file.and_then(|id| id.parse().ok()) == Some(inode)
    };
    let line = table.lines().find(is_it)?;
    // In another namespace of processes its number there is in the file.
    let written = fs::read_to_string(&lock).ok().and_then(|text| text.trim().parse().ok());
    written.or_else(|| line.split_whitespace().nth(4)?.parse().ok())
}

/// Checks the folder of the store. `holder` is the process that uses it.
pub(super) fn check(spec: &AgentSpec, holder: Option<u32>) -> Vec<Diagnosis> {
    let path = &spec.store.path;
    let mut found = vec![folder(path, holder)];
    // An agent creates the folder in the first one above that exists.
    let existing = path.ancestors().find(|folder| folder.is_dir());
    let Some(existing) = existing.filter(|folder| !folder.as_os_str().is_empty()) else {
        return found;
    };
    found.push(space(existing, path, spec.store.total));
    found.push(durable(existing));
    found
}

fn folder(path: &Path, holder: Option<u32>) -> Diagnosis {
    let shown = path.display();
    let me = rustix::process::geteuid().as_raw();
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let what = format!("{shown} does not exist yet; the agent creates it");
            return Diagnosis::ok(CHECK, what);
        }
        Err(error) => {
            let remedy = format!("run this command as the agent's user; this is uid {me}");
            return Diagnosis::failed(CHECK, format!("{shown}: {error}"), remedy);
        }
    };
    if let Some(refused) = refused(path, &meta, me) {
        return refused;
    }
    let mode = meta.mode() & 0o777;
    if mode & 0o077 != 0 {
        let what = format!("{shown} has mode {mode:04o}: others may look into it");
        return Diagnosis::warning(CHECK, what, format!("chmod 0700 {shown}"));
    }
    let owner = meta.uid();
    let used =
        holder.map_or_else(String::new, |pid| format!("; in use by a running agent, pid {pid}"));
    Diagnosis::ok(CHECK, format!("{shown}: owner uid {owner}, mode {mode:04o}{used}"))
}

/// Why an agent refuses the folder.
fn refused(path: &Path, meta: &Metadata, me: u32) -> Option<Diagnosis> {
    let shown = path.display();
    if !meta.is_dir() {
        let what = format!("{shown} is {}, not a folder", kind(meta));
        return Some(Diagnosis::failed(CHECK, what, "remove it, or set another store.path"));
    }
    let (mode, owner) = (meta.mode() & 0o777, meta.uid());
    if mode & 0o022 != 0 {
        let what = format!(
            "{shown} has mode {mode:04o}: other users may change it, and an agent refuses it"
        );
        return Some(Diagnosis::failed(CHECK, what, format!("chmod go-w {shown}")));
    }
    if owner == me {
        return None;
    }
    let what = format!("{shown} belongs to uid {owner}, and this is uid {me}");
    let remedy = format!("run agent and doctor as the owner, or: chown -R {me} {shown}");
    // Root looks at the store of a service that runs as another user.
    let diagnosis = if me == 0 { Diagnosis::warning } else { Diagnosis::failed };
    Some(diagnosis(CHECK, what, remedy))
}

fn kind(meta: &Metadata) -> &'static str {
    if meta.is_symlink() { "a link" } else { "a file" }
}

/// The space that is free, and that the store may still take.
fn space(existing: &Path, store: &Path, total: u64) -> Diagnosis {
    let shown = existing.display();
    let stat = match statvfs(existing) {
        Ok(stat) => stat,
        Err(error) => {
            let what = format!("{shown}: the free space is not known: {error}");
            return Diagnosis::warning(CHECK, what, "look with: df");
        }
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let taken = fs::metadata(store.join(DATABASE)).map_or(0, |meta| meta.blocks() * 512);
    let (free_mib, still) = (free / MIB, total.saturating_sub(taken) / MIB);
    let remedy =
        format!("free space, or set a smaller store.total, of at least 512MiB; df {shown}");
    if free < LEAST || (stat.f_files > 0 && stat.f_favail == 0) {
        let what = format!("{shown}: the disk is full, {free_mib} MiB are free");
        return Diagnosis::failed(CHECK, what, remedy);
    }
    let what = format!("{shown}: {free_mib} MiB are free, and the store may take {still} MiB more");
    if free < total.saturating_sub(taken) {
        return Diagnosis::warning(CHECK, what, remedy);
    }
    Diagnosis::ok(CHECK, what)
}

/// Writes a file without a name, and waits until it is on disk. The system removes it when it is closed.
fn durable(existing: &Path) -> Diagnosis {
    let shown = existing.display();
    let started = Instant::now();
    match write(existing) {
        Ok(()) => {
            let millis = started.elapsed().as_millis();
            let what = format!("{shown}: a write is durable after {millis} ms");
            if millis > SLOW_MILLIS {
                return Diagnosis::warning(CHECK, what, "use a faster disk for store.path");
            }
            Diagnosis::ok(CHECK, what)
        }
        Err(error) => {
            let remedy = match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    "free space, or set store.path to another disk"
                }
                io::ErrorKind::PermissionDenied => "run this command as the agent's user",
                io::ErrorKind::ReadOnlyFilesystem => {
                    "mount it for writing, or set store.path to another disk"
                }
                _ => "check the disk: dmesg",
            };
            let what = format!("{shown}: a write cannot be made durable: {error}");
            Diagnosis::failed(CHECK, what, remedy)
        }
    }
}

fn write(existing: &Path) -> io::Result<()> {
    let mut file = unnamed(existing)?;
    file.write_all(&[0; 4096])?;
    file.sync_all()
}

/// A file without a name; where the file system has none, one whose name is removed at once.
fn unnamed(existing: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    let flags = (OFlags::TMPFILE | OFlags::CLOEXEC).bits().cast_signed();
    match options.clone().custom_flags(flags).open(existing) {
        Err(error) if is_unsupported(&error) => {}
        opened => return opened,
    }
    let path: PathBuf = existing.join(format!(".nephometer-doctor-{}", std::process::id()));
    let file = options.create_new(true).open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

fn is_unsupported(error: &io::Error) -> bool {
    let kind = error.kind();
    kind == io::ErrorKind::Unsupported || kind == io::ErrorKind::IsADirectory
}
