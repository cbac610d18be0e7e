//! Moves damaged files aside, so that a new one can be created in their place.

use std::path::{Path, PathBuf};

use super::StoreError;

/// Renames a file to `NAME.damaged-N` with the first free number, and returns the new path.
pub(super) fn move_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let numbered = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".damaged-{number}"));
        PathBuf::from(name)
    };
    let free = (1..u32::MAX).map(numbered).find(|path| !path.exists());
    let moved = free.unwrap_or_else(|| numbered(0));
    std::fs::rename(path, &moved).map_err(|source| StoreError::Io {
        action: "rename",
        path: path.to_owned(),
        source,
    })?;
    Ok(moved)
}
