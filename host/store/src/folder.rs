//! The store folder: its lock, its host id, and the parts of the store in it.
//!
//! It refuses links, folders that others may write, and folders that another agent has locked.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use super::backend::Backend;
use super::db::Disk;
use super::{DeadLetters, Gaps, Identity, Journal, JournalBounds, Spools, StoreError, WhenFull};
use super::{gap_tables, io, page_token};
use nephometer_files as files;
use nephometer_model::{HostId, Timestamp};
use nephometer_telemetry::{Account, events::publish as events};

const HOST_ID_FILE: &str = "host-generation";

/// The store folder, locked against other agents until this is dropped.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    host_id: HostId,
    identity: Option<Arc<Identity>>,
    backend: Arc<Backend>,
    lock: Option<File>,
}

impl Store {
    /// Opens the folder, creates it (mode 0700) if it is missing, locks it, and reads or creates the
    /// host id.
    ///
    /// # Errors
    /// If another agent has it locked, another user owns or may write it, or the disk fails.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        files::own_folder(folder).map_err(|source| io("use", folder, source))?;
        let lock = lock(&folder.join("lock"))?;
        let (host_id, disk) = (load_or_create_host_id(folder)?, Disk::open(folder)?);
        let identity = Some(Arc::new(Identity::open(folder, host_id)?));
        let backend = Backend::on_disk(disk, folder);
        Ok(Self { folder: folder.to_owned(), host_id, identity, backend, lock: Some(lock) })
    }

    /// A store that writes nothing, for commands that leave no trace. The host id is the one in the
    /// folder if there is one.
    pub fn in_memory(folder: &Path) -> Self {
        let host_id = host_id_or_random(folder);
        let (identity, backend) = (None, Backend::in_memory());
        Self { folder: folder.to_owned(), host_id, identity, backend, lock: None }
    }

    /// Opens the journal. Called once.
    ///
    /// # Errors
    /// If the stored journal cannot be read.
    pub fn journal(
        &self,
        bounds: JournalBounds,
        when_full: WhenFull,
    ) -> Result<Journal, StoreError> {
        Journal::new(Arc::clone(&self.backend), bounds, when_full)
    }

    /// Opens the spools. Called once.
    pub fn spools(&self) -> Spools {
        Spools::new(Arc::clone(&self.backend))
    }

    /// The stored gaps.
    pub fn gaps(&self) -> Gaps {
        Gaps(Arc::clone(&self.backend))
    }

    /// The start of the last polling cycle of each source, in an earlier run.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn last_cycles(&self) -> Result<HashMap<Arc<str>, Timestamp>, StoreError> {
        self.read(|disk| gap_tables::last_cycles(&disk.begin_read()?))
    }

    fn read<T: Default>(
        &self,
        query: impl FnOnce(&Disk) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let Some(disk) = self.backend.disk() else { return Ok(T::default()) };
        query(&disk).map_err(|error| StoreError::Database {
            path: self.folder.clone(),
            source: Box::new(error),
        })
    }

    /// The stored counters, by name.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn accounts(&self) -> Result<Vec<(String, Account)>, StoreError> {
        self.read(Disk::accounts)
    }

    /// The dead letters. Without a disk, new ones are lost.
    pub fn dead_letters(&self) -> DeadLetters {
        DeadLetters::new(self.lock.as_ref().map(|_| self.folder.as_path()))
    }

    /// The token that opens the agent's page. Without a disk it is another one in each run.
    ///
    /// # Errors
    /// If its file cannot be read or written.
    pub fn page_token(&self) -> Result<String, StoreError> {
        match &self.lock {
            Some(_) => page_token::load_or_create(&self.folder),
            None => Ok(page_token::fresh()),
        }
    }

    /// The host ids and signing keys; `None` without a disk.
    pub fn identity(&self) -> Option<Arc<Identity>> {
        self.identity.clone()
    }

    /// The host id: the namespace of all ids that the agent creates.
    pub fn host_id(&self) -> HostId {
        self.host_id
    }
}

/// The host id in a store folder if it can be read, else a random one that is not stored. For commands
/// that leave no trace.
pub fn host_id_or_random(folder: &Path) -> HostId {
    let known = files::read_text(&folder.join(HOST_ID_FILE));
    let known = known.ok().and_then(|text| Uuid::parse_str(text.trim()).ok());
    HostId(known.unwrap_or_else(Uuid::new_v4))
}

/// Takes the lock and writes our pid into its file. The system releases it however we end.
fn lock(path: &Path) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = files::own(path, &options).map_err(|source| io("open", path, source))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            // The error is still useful without the pid.
            let pid = file.read_to_string(&mut pid).ok().and_then(|_| pid.trim().parse().ok());
            return Err(StoreError::Locked { path: path.to_owned(), pid });
        }
        Err(TryLockError::Error(source)) => return Err(io("lock", path, source)),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(|source| io("write", path, source))?;
    Ok(file)
}

/// Reads the host id. Creates one if there is none, or if the file is damaged, which is logged.
fn load_or_create_host_id(folder: &Path) -> Result<HostId, StoreError> {
    let path = folder.join(HOST_ID_FILE);
    let mut bytes = Vec::new();
    let read = files::own(&path, OpenOptions::new().read(true))
        .and_then(|mut file| file.read_to_end(&mut bytes));
    match read {
        Ok(_) => {
            let text = String::from_utf8_lossy(&bytes);
            match Uuid::parse_str(text.trim()) {
                Ok(uuid) => return Ok(HostId(uuid)),
                Err(error) => events::host_id_damaged(&path, &error),
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(source) => return Err(io("read", &path, source)),
    }
    let uuid = Uuid::new_v4();
    let temporary = folder.join("host-generation.new");
    write_synced(&temporary, &format!("{uuid}\n"))
        .map_err(|source| io("write", &temporary, source))?;
    std::fs::rename(&temporary, &path).map_err(|source| io("rename to", &path, source))?;
    // The new name is durable only once the folder is synced.
    File::open(folder).and_then(|dir| dir.sync_all()).map_err(|e| io("write", folder, e))?;
    Ok(HostId(uuid))
}

fn write_synced(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = files::fresh(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn host_id_is_created_once_and_replaced_when_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/store");
        let first = Store::open(&path).unwrap().host_id();
        assert_eq!(Store::open(&path).unwrap().host_id(), first);
        let file = path.join("host-generation");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        for damage in ["", "not a uuid", "\u{fffd}"] {
            std::fs::write(&file, damage).unwrap();
            let next = Store::open(&path).unwrap().host_id();
            assert_ne!(next, first);
            assert_eq!(Store::open(&path).unwrap().host_id(), next);
        }
    }

    #[test]
    fn second_agent_is_refused_with_the_pid_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let first = Store::open(folder.path()).unwrap();
        let error = Store::open(folder.path()).unwrap_err();
        let pid = std::process::id();
        assert!(error.to_string().contains(&format!("(pid {pid});")), "{error}");
        drop(first);
        Store::open(folder.path()).unwrap();
    }

    // Links that another user had left in the folder were once followed and written to.
    #[test]
    fn links_in_the_folder_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let victim = folder.path().join("victim");
        std::fs::write(&victim, "kept").unwrap();
        for name in ["lock", "host-generation", "agent.redb"] {
            let store = folder.path().join(format!("store-{name}"));
            std::fs::create_dir(&store).unwrap();
            std::os::unix::fs::symlink(&victim, store.join(name)).unwrap();
            let error = Store::open(&store).unwrap_err();
            let error = nephometer_telemetry::Chain(&error).to_string();
            assert!(error.contains(name) && error.contains("it is a link"), "{error}");
        }
        let store = folder.path().join("store");
        std::fs::create_dir(&store).unwrap();
        std::os::unix::fs::symlink(&victim, store.join("host-generation.new")).unwrap();
        Store::open(&store).unwrap();
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "kept");
    }

    #[test]
    fn folder_that_others_may_write_is_refused_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store");
        Store::open(&store).unwrap();
        std::fs::set_permissions(&store, std::fs::Permissions::from_mode(0o777)).unwrap();
        let error = Store::open(&store).unwrap_err();
        let error = nephometer_telemetry::Chain(&error).to_string();
        let right = error.contains("mode 777") && error.contains("chmod go-w");
        assert!(right && error.contains(&store.display().to_string()), "{error}");
    }

    #[test]
    fn folder_that_cannot_be_created_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = Store::open(&file.join("store")).unwrap_err().to_string();
        assert!(error.contains("file/store") && error.contains("store.path"), "{error}");
    }
}
