//! Files of promoted components in the store's folder: a list, and copies of components by content.
//!
//! What the list has is up to the caller.

use std::fs;
use std::io::{ErrorKind, Result, Write as _};
use std::path::{Path, PathBuf};

use nephometer_files as files;

const FOLDER: &str = "promoted";
const LIST: &str = "promoted.json";

/// The files of promoted components below the folder of a store.
#[derive(Debug, Clone)]
pub struct PromotedFiles(PathBuf);

impl PromotedFiles {
    /// Those of a store in this folder. Nothing is created before it is written.
    pub fn new(store: &Path) -> Self {
        Self(store.to_owned())
    }

    /// The path of the list.
    pub fn list(&self) -> PathBuf {
        self.0.join(LIST)
    }

    /// Reads the list; `None` if there is none.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read_list(&self) -> Result<Option<String>> {
        match files::read_text(&self.list()) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces the list at once.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_list(&self, text: &str) -> Result<()> {
        write(&self.list(), text.as_bytes())
    }

    /// The path of the copy of a component with this content, named by its digest.
    pub fn copy(&self, content: &str) -> PathBuf {
        self.0.join(FOLDER).join(format!("{content}.wasm"))
    }

    /// Keeps a copy of a file. Its content is compared with the digest when it is loaded.
    ///
    /// # Errors
    /// If the file cannot be read or the copy not written.
    pub fn keep(&self, from: &Path, content: &str) -> Result<()> {
        files::own_folder(&self.0.join(FOLDER))?;
        write(&self.copy(content), &files::read(from)?)
    }

    /// Removes all copies but these. What cannot be removed costs space only.
    pub fn retain(&self, contents: &[&str]) {
        let entries = fs::read_dir(self.0.join(FOLDER)).into_iter().flatten();
        for path in entries.filter_map(std::result::Result::ok).map(|entry| entry.path()) {
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            if !stem.is_some_and(|stem| contents.contains(&stem)) {
                drop(fs::remove_file(path));
            }
        }
    }
}

/// Replaces a file at once.
pub(crate) fn write(path: &Path, content: &[u8]) -> Result<()> {
    let new = path.with_extension("new");
    let mut file = files::fresh(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_and_copies_are_kept_until_nobody_needs_them() {
        let folder = tempfile::tempdir().unwrap();
        let kept = PromotedFiles::new(folder.path());
        assert_eq!(kept.read_list().unwrap(), None);
        kept.write_list("{}").unwrap();
        kept.write_list("{\"a\": 1}").unwrap();
        assert_eq!(kept.read_list().unwrap().as_deref(), Some("{\"a\": 1}"));
        let file = folder.path().join("component");
        for content in ["one", "two"] {
            fs::write(&file, content).unwrap();
            kept.keep(&file, content).unwrap();
        }
        kept.retain(&["two"]);
        assert!(!kept.copy("one").exists());
        assert_eq!(fs::read(kept.copy("two")).unwrap(), b"two");
    }
}
