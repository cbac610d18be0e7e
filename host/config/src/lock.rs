//! The lock file: the digests of tags, beside `nephometer.yaml`.
//!
//! The agent only reads it. `nephometer component pull` adds what is missing, `component update`
//! changes what is there, so that a tag which moves in a registry changes no host by itself.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::component_spec::{ComponentsSpec, ShadowSource, shadow_name};
use super::error::{Report, problem};
use super::inputs::{DEFAULT_CONFIG, Inputs, file, whole};
use super::registry::ContentDigest;

use nephometer_model::Bound;

/// Its name.
const LOCK_FILE: &str = "components.lock";
/// The version of the format.
const FORMAT: u32 = 1;

/// The lock file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockFile {
    version: u32,
    /// By the name of the component.
    pub components: BTreeMap<String, LockedComponent>,
}

/// A tag that was resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedComponent {
    /// `from`, as it was configured.
    pub from: String,
    /// The digest of the manifest.
    pub digest: String,
}

impl Default for LockFile {
    fn default() -> Self {
        Self { version: FORMAT, components: BTreeMap::new() }
    }
}

impl LockFile {
    /// Reads the file; without one it is empty.
    ///
    /// # Errors
    /// With what is wrong.
    pub fn read(path: &Path) -> Result<Self, String> {
        let mut bytes = Vec::new();
        let most = Bound::YamlBytes.most();
        match nephometer_files::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(format!("the file cannot be read: {error}")),
            Ok(file) => file
                .take(most + 1)
                .read_to_end(&mut bytes)
                .map_err(|error| format!("the file cannot be read: {error}"))?,
        };
        Bound::YamlBytes.check(bytes.len()).map_err(|exceeded| exceeded.to_string())?;
        let read: Self = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        if read.version != FORMAT {
            return Err(format!("format {} is unknown; this is format {FORMAT}", read.version));
        }
        for (name, locked) in &read.components {
            locked.digest.parse::<ContentDigest>().map_err(|right| format!("{name}: {right}"))?;
        }
        Ok(read)
    }

    /// The text of the file.
    pub fn text(&self) -> String {
        // A tree of texts always has a form in JSON.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }
}

/// The path of the lock file; `None` if the settings are not in a file.
pub fn lock_file(inputs: &Inputs) -> Option<PathBuf> {
    Some(file(&inputs.config, DEFAULT_CONFIG)?.with_file_name(LOCK_FILE))
}

/// Adds the digests of the lock file to components whose `from` names none.
pub(super) fn attach(inputs: &Inputs, components: &mut ComponentsSpec, report: &mut Report) {
    if components.origins().all(|(_, origin)| origin.reference.digest.is_some()) {
        return;
    }
    let Some(path) = lock_file(inputs) else { return };
    let lock = match LockFile::read(&path) {
        Ok(lock) => lock,
        Err(what) => {
            let place = whole(&path.display().to_string());
            let remedy = "restore it, or remove it and run `nephometer component pull`";
            report.push(problem(&place, what, remedy));
            return;
        }
    };
    for (name, spec) in &mut components.by_name {
        let names = [name.clone(), shadow_name(name)];
        let shadow = match spec.shadow.as_mut().map(|shadow| &mut shadow.source) {
            Some(ShadowSource::Registry(origin)) => Some(origin),
            _ => None,
        };
        for (name, origin) in names.iter().zip([spec.from.as_mut(), shadow]) {
            let Some(origin) = origin else { continue };
            // An entry for another reference is of an earlier configuration.
            let entry = lock.components.get(name);
            let entry = entry.filter(|entry| entry.from == origin.reference.to_string());
            origin.locked = entry.and_then(|entry| entry.digest.parse().ok());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Origin, load_host};

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn the_lock_holds_for_the_reference_that_was_resolved() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("nephometer.yaml");
        let from = |tag: &str| format!("oci://registry.example/price:{tag}");
        let write = |tag: &str| {
            let text = format!("components: {{by_name: {{price: {{from: '{}'}}}}}}", from(tag));
            std::fs::write(&config, text).unwrap();
        };
        let inputs = Inputs {
            config: Origin::File(config.clone()),
            hostname: "h".to_owned(),
            ..Inputs::default()
        };
        let digest = || {
            let spec = load_host(&inputs).unwrap().spec;
            spec.components.by_name["price"].from.as_ref().unwrap().digest()
        };
        write("1");
        assert_eq!(digest(), None);
        let mut lock = LockFile::default();
        let locked = LockedComponent { from: from("1"), digest: DIGEST.to_owned() };
        lock.components.insert("price".to_owned(), locked);
        let path = lock_file(&inputs).unwrap();
        std::fs::write(&path, lock.text()).unwrap();
        assert_eq!(LockFile::read(&path), Ok(lock));
        assert_eq!(digest().unwrap().to_string(), DIGEST);
        write("2");
        assert_eq!(digest(), None);
        std::fs::write(&path, "{\"version\": 2, \"components\": {}}").unwrap();
        let error = load_host(&inputs).unwrap_err().to_string();
        assert!(error.contains("components.lock: format 2 is unknown"), "{error}");
    }
}
