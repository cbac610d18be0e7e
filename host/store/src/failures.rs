//! Keeps inputs that components failed on as fixtures for their authors: the newest 20 files in the
//! `failures` folder of the store.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{DeadLetters, StoreError};
use nephometer_files as files;

const FOLDER: &str = "failures";
/// Number of files that are kept.
const MAX_FILES: usize = 20;

impl DeadLetters {
    /// Writes a fixture called `name`, removes the oldest if there are too many, and returns its path;
    /// `None` without a disk.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub async fn keep_fixture(
        &self,
        name: &str,
        text: &str,
    ) -> Result<Option<PathBuf>, StoreError> {
        let (name, text) = (format!("{name}.json"), text.to_owned());
        // One at a time: two writers would try to remove the same old file.
        self.with_folder(move |store, _| {
            let folder = store.join(FOLDER);
            let path = folder.join(name);
            let write = || -> std::io::Result<()> {
                files::own_folder(&folder)?;
                let mut file = files::fresh(&path)?;
                file.write_all(text.as_bytes())?;
                remove_old(&folder)
            };
            match write() {
                Ok(()) => Ok(Some(path)),
                Err(source) => Err(StoreError::Io { action: "write", path, source }),
            }
        })
        .await
    }
}

/// Removes all files but the newest.
fn remove_old(folder: &Path) -> std::io::Result<()> {
    let mut files: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        files.push((entry.metadata()?.modified()?, entry.path()));
    }
    files.sort();
    let surplus = files.len().saturating_sub(MAX_FILES);
    files.iter().take(surplus).try_for_each(|(_, path)| fs::remove_file(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn newest_fixtures_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let letters = DeadLetters::in_folder(folder.path());
        for number in 0..25 {
            let path = letters.keep_fixture(&format!("x-{number}"), "{}").await.unwrap().unwrap();
            assert!(path.is_file());
        }
        let left = fs::read_dir(folder.path().join(FOLDER)).unwrap().count();
        assert_eq!(left, MAX_FILES);
    }
}
