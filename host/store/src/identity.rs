//! The agent's identity: the host ids that the store has had, and the keys that sign the records of
//! its streams.
//!
//! It is a file of its own in the store folder, which outlives a damaged database. Only the current
//! key keeps its private half.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::StoreError;
use super::damaged::move_aside;
use nephometer_files as files;
use nephometer_model::{HostId, Timestamp};
use nephometer_proof::{KeyError, KeyState, SigningKey};
use nephometer_telemetry::events::store as events;

const FILE: &str = "identity.json";

/// The identity of one store. Shared by its streams and by the commands on keys.
#[derive(Debug)]
pub struct Identity {
    folder: PathBuf,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    content: Content,
    key: Arc<SigningKey>,
}

/// The content of the file.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Content {
    /// The last one is current.
    host_ids: Vec<Uuid>,
    keys: Vec<StoredKey>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct StoredKey {
    #[serde(flatten)]
    state: KeyState,
    /// PKCS#8 in hexadecimal; `None` once another key has replaced it.
    private: Option<String>,
}

impl Identity {
    /// Opens the identity in a store folder, creates it if there is none, and records the host id.
    ///
    /// A damaged file is renamed and a new one created, which is logged: auditors have to trust the new
    /// key.
    ///
    /// # Errors
    /// If the disk fails, another user owns the file, or the system gives no random numbers.
    pub(super) fn open(folder: &Path, host_id: HostId) -> Result<Self, StoreError> {
        let path = folder.join(FILE);
        let found = read(&path)?;
        let mut content = found.clone().unwrap_or_default();
        if content.host_ids.last() != Some(&host_id.0) {
            content.host_ids.push(host_id.0);
        }
        if content.private().is_none() {
            content.add_key(now()).map_err(|source| key_error(&path, source))?;
        }
        let key = content.signing_key().map_err(|source| key_error(&path, source))?;
        let known = found.map(|found| (found.host_ids.len(), found.keys.len()));
        if known != Some((content.host_ids.len(), content.keys.len())) {
            content.write(folder)?;
        }
        Ok(Self { folder: folder.to_owned(), current: Mutex::new(Current { content, key }) })
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        // Nothing between lock and unlock can panic half-way, so the state is consistent.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key that signs.
    pub fn signing_key(&self) -> Arc<SigningKey> {
        Arc::clone(&self.lock().key)
    }

    /// All keys, oldest first.
    pub fn keys(&self) -> Vec<KeyState> {
        self.lock().content.keys.iter().map(|key| key.state.clone()).collect()
    }

    /// The host ids before the current one, oldest first.
    pub fn former_host_ids(&self) -> Vec<Uuid> {
        let current = self.lock();
        current.content.host_ids.split_last().map_or_else(Vec::new, |(_, former)| former.to_vec())
    }

    /// Replaces the key that signs, and returns the new one.
    ///
    /// # Errors
    /// If the file cannot be written: the key before stays in use.
    pub fn rotate(&self) -> Result<KeyState, StoreError> {
        self.change(|content| content.add_key(now()).map(|()| content.keys.len() - 1))
    }

    /// Revokes a key: its signatures from `since` on, by default from now on, are not to be trusted. If
    /// it is the one that signs, a new key replaces it.
    ///
    /// # Errors
    /// If there is no key with this id, or the file cannot be written.
    pub fn revoke(&self, id: &str, since: Option<Timestamp>) -> Result<KeyState, StoreError> {
        let known = self.keys();
        let Some(at) = known.iter().position(|key| key.id.to_string() == id) else {
            let known: Vec<String> = known.iter().map(|key| key.id.to_string()).collect();
            return Err(StoreError::UnknownKey { id: id.to_owned(), known: known.join(", ") });
        };
        self.change(|content| {
            let now = now();
            content.keys[at].state.revoked.get_or_insert_with(|| since.unwrap_or(now).iso());
            if content.keys[at].private.is_some() {
                content.add_key(now)?;
            }
            Ok(at)
        })
    }

    fn change(
        &self,
        change: impl FnOnce(&mut Content) -> Result<usize, KeyError>,
    ) -> Result<KeyState, StoreError> {
        let mut current = self.lock();
        let mut content = current.content.clone();
        let failed = |source| key_error(&self.folder.join(FILE), source);
        let at = change(&mut content).map_err(failed)?;
        let key = content.signing_key().map_err(failed)?;
        content.write(&self.folder)?;
        let state = content.keys[at].state.clone();
        *current = Current { content, key };
        Ok(state)
    }
}

impl Content {
    fn private(&self) -> Option<&str> {
        self.keys.last()?.private.as_deref()
    }

    fn signing_key(&self) -> Result<Arc<SigningKey>, KeyError> {
        let pkcs8 = self.private().and_then(|text| hex::decode(text).ok());
        Ok(Arc::new(SigningKey::from_pkcs8(&pkcs8.ok_or(KeyError::Damaged)?)?))
    }

    /// Adds a key, which signs from now on.
    fn add_key(&mut self, now: Timestamp) -> Result<(), KeyError> {
        let pkcs8 = SigningKey::generate()?;
        let public = SigningKey::from_pkcs8(&pkcs8)?.public();
        for key in &mut self.keys {
            if key.private.take().is_some() {
                key.state.replaced = Some(now.iso());
            }
        }
        let (created, replaced, revoked) = (now.iso(), None, None);
        let state = KeyState { id: public.id(), public, created, replaced, revoked };
        self.keys.push(StoredKey { state, private: Some(hex::encode(pkcs8)) });
        Ok(())
    }

    fn write(&self, folder: &Path) -> Result<(), StoreError> {
        let (path, temporary) = (folder.join(FILE), folder.join("identity.json.new"));
        let text = serde_json::to_string_pretty(self).expect("it has only text");
        let written = files::fresh(&temporary).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
        written.map_err(|source| io("write", &temporary, source))?;
        std::fs::rename(&temporary, &path).map_err(|source| io("rename to", &path, source))?;
        // The new name is durable only once the folder is synced.
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|source| io("write", folder, source))
    }
}

/// Reads the file; `None` if there is none, or if it is damaged.
fn read(path: &Path) -> Result<Option<Content>, StoreError> {
    let mut text = String::new();
    let opened = files::own(path, OpenOptions::new().read(true));
    match opened.and_then(|mut file| file.read_to_string(&mut text)) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == ErrorKind::InvalidData => {}
        Err(source) => return Err(io("read", path, source)),
    }
    let damage = match serde_json::from_str::<Content>(&text) {
        Ok(content) if content.keys.is_empty() || content.signing_key().is_ok() => {
            return Ok(Some(content));
        }
        Ok(_) => KeyError::Damaged.to_string(),
        Err(error) => error.to_string(),
    };
    let damaged = move_aside(path)?;
    events::damaged_identity_moved(path, &damaged, &damage);
    Ok(None)
}

#[expect(clippy::disallowed_methods, reason = "the time of a key, which never reaches a sample")]
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

fn key_error(path: &Path, source: KeyError) -> StoreError {
    StoreError::Key { path: path.to_owned(), source }
}

fn io(action: &'static str, path: &Path, source: std::io::Error) -> StoreError {
    StoreError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn host(number: u128) -> HostId {
        HostId(Uuid::from_u128(number))
    }

    #[test]
    fn keys_and_host_ids_outlive_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let first = Identity::open(folder.path(), host(1)).unwrap();
        let key = first.signing_key().public();
        let mode = std::fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!((mode & 0o777, first.former_host_ids()), (0o600, Vec::new()));
        let second = Identity::open(folder.path(), host(2)).unwrap();
        assert_eq!(second.signing_key().public(), key);
        assert_eq!(second.former_host_ids(), [host(1).0]);
    }

    #[test]
    fn rotated_and_revoked_keys_stay_listed_without_their_private_half() {
        let folder = tempfile::tempdir().unwrap();
        let identity = Identity::open(folder.path(), host(1)).unwrap();
        let first = identity.keys()[0].clone();
        let second = identity.rotate().unwrap();
        assert_eq!(identity.signing_key().public(), second.public);
        assert!(identity.keys()[0].replaced.is_some());
        let since = Timestamp::parse("2026-11-01T00:00:00").unwrap();
        let revoked = identity.revoke(&first.id.to_string(), Some(since)).unwrap();
        assert_eq!((revoked.id, revoked.revoked), (first.id, Some(since.iso())));
        assert_eq!(identity.keys().len(), 2, "the revoked key did not sign any more");
        identity.revoke(&second.id.to_string(), None).unwrap();
        let again = Identity::open(folder.path(), host(1)).unwrap();
        assert_eq!(again.keys(), identity.keys());
        assert_eq!(again.signing_key().public(), again.keys()[2].public);
        let text = std::fs::read_to_string(folder.path().join(FILE)).unwrap();
        assert_eq!(text.matches("\"private\": null").count(), 2);
        let error = identity.revoke("nobody", None).unwrap_err().to_string();
        assert!(error.contains("nobody") && error.contains(&second.id.to_string()), "{error}");
    }

    #[test]
    fn damaged_file_is_kept_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let key = Identity::open(folder.path(), host(1)).unwrap().signing_key().public();
        let path = folder.path().join(FILE);
        for damage in ["{", "{\"host_ids\": [], \"keys\": 7}", ""] {
            std::fs::write(&path, damage).unwrap();
            let next = Identity::open(folder.path(), host(1)).unwrap();
            assert_ne!(next.signing_key().public(), key);
        }
        let kept = path.with_extension("json.damaged-3");
        assert_eq!(std::fs::read_to_string(kept).unwrap(), "");
    }
}
