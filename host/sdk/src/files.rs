//! Files, and the folders that they are in.

use std::fs;
use std::path::Path;

use super::error::{SdkError, at};

/// Writes a file; the folders above it are made where they are missing.
///
/// # Errors
/// With the path that cannot be written.
pub(super) fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<(), SdkError> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(at(parent))?;
    }
    fs::write(path, content).map_err(at(path))
}
