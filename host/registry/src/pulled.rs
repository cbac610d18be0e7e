//! The folder of pulled components: `NAME/DIGEST/` has the manifest, the signatures and `NAME.wasm`.
//!
//! Nothing in it is trusted. The manifest must have the digest that the configuration names, the
//! component that of the manifest, and signatures are verified each time they count.

use std::fs::{self, OpenOptions};
use std::io::{Error, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Uid, chown};

use super::artifact::{Manifest, digest_of};
use super::error::RegistryError;
use super::registry::FetchedComponent;
use super::signature::ComponentSignature;
use nephometer_config::ContentDigest;
use nephometer_model::Bound;

const FOLDER: &str = "pulled";
const MANIFEST_FILE: &str = "manifest.json";
const SIGNATURES_FILE: &str = "signatures.json";

/// The folder of pulled components.
#[derive(Debug, Clone)]
pub struct PulledStore {
    folder: PathBuf,
}

/// A component in the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PulledComponent {
    /// The digest of the manifest.
    pub digest: ContentDigest,
    /// The component.
    pub path: PathBuf,
    /// The digest that its content must have. It is not checked here.
    pub content: ContentDigest,
    /// Its size in bytes.
    pub size: u64,
    /// Its signatures, which are not verified here.
    pub signatures: Vec<ComponentSignature>,
}

impl PulledComponent {
    /// Whether the file has the content that it must have. Reads all of it.
    pub fn is_intact(&self) -> bool {
        read(&self.path, Bound::ComponentBytes).is_ok_and(|wasm| digest_of(&wasm) == self.content)
    }
}

impl PulledStore {
    /// The folder below `cache.path`. It is created when the first component is pulled.
    pub fn new(cache: &Path) -> Self {
        Self { folder: cache.join(FOLDER) }
    }

    /// A component of this name and digest; `None` if it is not here or damaged.
    pub fn find(&self, name: &str, digest: ContentDigest) -> Option<PulledComponent> {
        let folder = self.folder_of(name, digest);
        let manifest = read(&folder.join(MANIFEST_FILE), Bound::RegistryManifest).ok()?;
        if digest_of(&manifest) != digest {
            return None;
        }
        let (content, size) = Manifest::read(&manifest).ok()?.component().ok()?;
        let path = folder.join(format!("{name}.wasm"));
        if !fs::metadata(&path).is_ok_and(|found| found.is_file() && found.len() == size) {
            return None;
        }
        let signatures = read(&folder.join(SIGNATURES_FILE), Bound::RegistryManifest);
        let signatures = signatures.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let signatures = signatures.unwrap_or_default();
        Some(PulledComponent { digest, path, content, size, signatures })
    }

    /// Keeps a component that was pulled, with the signatures that it has now. Its older versions are
    /// removed beyond [`Bound::PulledVersions`].
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn keep(&self, name: &str, fetched: &FetchedComponent) -> Result<PathBuf, RegistryError> {
        let folder = self.folder_of(name, fetched.digest);
        let kept = self.write(name, &folder, fetched);
        let failed = |source| RegistryError::Folder { path: folder.display().to_string(), source };
        kept.map_err(failed)?;
        self.prune(name, fetched.digest);
        Ok(folder.join(format!("{name}.wasm")))
    }

    /// Keeps the signatures that a component has now.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn keep_signatures(
        &self,
        kept: &PulledComponent,
        signatures: &[ComponentSignature],
    ) -> Result<(), RegistryError> {
        let path = kept.path.with_file_name(SIGNATURES_FILE);
        let failed = |source| RegistryError::Folder { path: path.display().to_string(), source };
        let bytes = serde_json::to_vec(signatures).map_err(|error| failed(Error::other(error)))?;
        replace(&path, &bytes, self.owner()).map_err(failed)
    }

    fn write(&self, name: &str, folder: &Path, fetched: &FetchedComponent) -> std::io::Result<()> {
        let of_name = self.folder.join(name);
        fs::create_dir_all(&of_name)?;
        let owner = self.owner();
        for path in [&self.folder, &of_name] {
            give(path, owner)?;
        }
        let signatures = serde_json::to_vec(&fetched.signatures).map_err(Error::other)?;
        if self.find(name, fetched.digest).is_some_and(|kept| kept.is_intact()) {
            return replace(&folder.join(SIGNATURES_FILE), &signatures, owner);
        }
        let new = of_name.join(format!(".new-{}", std::process::id()));
        remove(&new)?;
        fs::create_dir(&new)?;
        let wasm = format!("{name}.wasm");
        let files = [
            (MANIFEST_FILE, &fetched.manifest),
            (SIGNATURES_FILE, &signatures),
            (wasm.as_str(), &fetched.wasm),
        ];
        for (file, content) in files {
            replace(&new.join(file), content, owner)?;
        }
        give(&new, owner)?;
        remove(folder)?;
        fs::rename(&new, folder)
    }

    /// Removes the versions that were pulled first. What cannot be removed stays: it costs space only.
    fn prune(&self, name: &str, newest: ContentDigest) {
        let entries = fs::read_dir(self.folder.join(name)).into_iter().flatten();
        let mut versions: Vec<_> = entries
            .filter_map(Result::ok)
            .filter(|entry| *entry.file_name() != *newest.digits())
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        versions.sort_by_key(|(modified, _)| std::cmp::Reverse(*modified));
        for (_, path) in versions.iter().skip(Bound::PulledVersions.size() - 1) {
            drop(fs::remove_dir_all(path));
        }
    }

    /// The folder of one version.
    fn folder_of(&self, name: &str, digest: ContentDigest) -> PathBuf {
        self.folder.join(name).join(digest.digits())
    }

    /// If root pulls, what is written belongs to the owner of the cache: the agent must be able to
    /// replace it.
    fn owner(&self) -> Option<(Uid, Gid)> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let cache = fs::metadata(self.folder.parent()?).ok()?;
        Some((Uid::from_raw(cache.uid()), Gid::from_raw(cache.gid())))
    }
}

fn give(path: &Path, owner: Option<(Uid, Gid)>) -> std::io::Result<()> {
    let Some((user, group)) = owner else { return Ok(()) };
    Ok(chown(path, Some(user), Some(group))?)
}

/// Writes a file beside its place and renames it: a reader never sees half of it.
fn replace(path: &Path, content: &[u8], owner: Option<(Uid, Gid)>) -> std::io::Result<()> {
    let new = path.with_extension(format!("new-{}", std::process::id()));
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    give(&new, owner)?;
    fs::rename(&new, path)
}

fn remove(folder: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn read(path: &Path, most: Bound) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    nephometer_files::open(path)?.take(most.most() + 1).read_to_end(&mut bytes)?;
    most.check(bytes.len()).map_err(Error::other)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::manifest;

    fn fetched(wasm: &[u8], signatures: usize) -> FetchedComponent {
        let (manifest, _) = manifest(wasm, "price.wasm", &[], &[]);
        let manifest = manifest.bytes();
        let signature = ComponentSignature::new(b"payload", "c2lnbmF0dXJl");
        FetchedComponent {
            digest: digest_of(&manifest),
            manifest,
            wasm: wasm.to_owned(),
            signatures: vec![signature; signatures],
        }
    }

    #[test]
    fn what_is_kept_is_found_by_its_digest_and_damage_is_noticed() {
        let cache = tempfile::tempdir().unwrap();
        let store = PulledStore::new(cache.path());
        let one = fetched(b"one", 0);
        assert_eq!(store.find("price", one.digest), None);
        let path = store.keep("price", &one).unwrap();
        let found = store.find("price", one.digest).unwrap();
        assert_eq!((&found.path, found.size, found.signatures.len()), (&path, 3, 0));
        assert_eq!(found.content, digest_of(b"one"));
        assert_eq!(store.find("other", one.digest), None);
        // Signed later: the same component, and one more signature.
        let inode = fs::metadata(&path).unwrap().ino();
        store.keep("price", &fetched(b"one", 1)).unwrap();
        assert_eq!(store.find("price", one.digest).unwrap().signatures.len(), 1);
        assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
        // Damaged: written again.
        fs::write(&path, b"two").unwrap();
        store.keep("price", &one).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one");
        fs::write(path.with_file_name(MANIFEST_FILE), b"{}").unwrap();
        assert_eq!(store.find("price", one.digest), None);
    }

    #[test]
    fn the_newest_versions_are_kept() {
        let cache = tempfile::tempdir().unwrap();
        let store = PulledStore::new(cache.path());
        let all: Vec<FetchedComponent> = (0..12_u8).map(|at| fetched(&[at], 0)).collect();
        for one in &all {
            store.keep("price", one).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let kept = |one: &FetchedComponent| store.find("price", one.digest).is_some();
        let missing = all.iter().filter(|one| !kept(one)).count();
        assert_eq!(missing, all.len() - Bound::PulledVersions.size());
        assert!(all[all.len() - Bound::PulledVersions.size()..].iter().all(kept));
    }
}
