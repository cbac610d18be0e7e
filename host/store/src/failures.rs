//! Inputs that components failed on, as fixtures for their authors: a folder with the newest few.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{DeadLetters, StoreError};
use nephometer_files as files;

const FOLDER: &str = "failures";
/// So many are kept.
const FILES: usize = 20;

impl DeadLetters {
    /// Keeps a fixture under `name`, in place of the oldest if there are many. Gives back its file;
    /// `None` where nothing may be written.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub async fn keep_fixture(
        &self,
        name: &str,
        text: &str,
    ) -> Result<Option<PathBuf>, StoreError> {
        let (name, text) = (format!("{name}.json"), text.to_owned());
        // One at a time: two that removed the same old file would fail for it.
        self.work(move |store, _| {
            let folder = store.join(FOLDER);
            let path = folder.join(name);
            let kept = || -> std::io::Result<()> {
                files::own_folder(&folder)?;
                let mut file = files::fresh(&path)?;
                file.write_all(text.as_bytes())?;
                forget(&folder)
            };
            match kept() {
                Ok(()) => Ok(Some(path)),
                Err(source) => Err(StoreError::Io { action: "write", path, source }),
            }
        })
        .await
    }
}

/// Removes all but the newest.
fn forget(folder: &Path) -> std::io::Result<()> {
    let mut files: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        files.push((entry.metadata()?.modified()?, entry.path()));
    }
    files.sort();
    let more = files.len().saturating_sub(FILES);
    files.iter().take(more).try_for_each(|(_, path)| fs::remove_file(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_newest_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let letters = DeadLetters::of(folder.path());
        for number in 0..25 {
            let path = letters.keep_fixture(&format!("x-{number}"), "{}").await.unwrap().unwrap();
            assert!(path.is_file());
        }
        let left = fs::read_dir(folder.path().join(FOLDER)).unwrap().count();
        assert_eq!(left, FILES);
    }
}
