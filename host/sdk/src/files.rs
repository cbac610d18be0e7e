//! Writes files and creates their folders.

use std::fs;
use std::path::Path;

use super::error::{SdkError, at};

/// Writes a file, and creates the folders above it.
///
/// # Errors
/// With the path that could not be written.
pub(super) fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<(), SdkError> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(at(parent))?;
    }
    fs::write(path, content).map_err(at(path))
}
