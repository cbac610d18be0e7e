//! Finds the file of a component by name, and reads it once.

use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::digest::Digest;
use super::error::{ComponentError, invalid};
use super::options::similar;
use nephometer_config::{ComponentsSpec, Provision};
use nephometer_files as files;
use nephometer_model::Bound;

/// The file of a component from a registry, or of a shadow; `None` for a component of a folder.
pub(super) fn provided(
    name: &str,
    spec: &ComponentsSpec,
) -> Result<Option<PathBuf>, ComponentError> {
    let refused = |reason: &str| {
        Err(ComponentError::NotProvided { name: name.to_owned(), reason: reason.to_owned() })
    };
    match spec.provided.get(name) {
        Some(Provision::File { path, .. } | Provision::Local(path)) => Ok(Some(path.clone())),
        Some(Provision::Missing(reason)) => refused(reason),
        None if spec.by_name.get(name).is_some_and(|spec| spec.from.is_some()) => {
            refused("it comes from a registry; run `nephometer component pull`")
        }
        None if spec.signatures.requires(name, false) => refused(
            "components.signatures requires a signature, which a file in a folder cannot have; set \
             `from` to a registry, or list it in allow_unsigned",
        ),
        None => Ok(None),
    }
}

/// Reads a file, and compares the content of one from a registry with what was verified.
pub(super) fn read_verified(
    path: &Path,
    spec: &ComponentsSpec,
) -> Result<(Vec<u8>, Digest), ComponentError> {
    let (bytes, digest) = read(path)?;
    let expected = spec.provided.values().find_map(|provision| match provision {
        Provision::File { path: file, digest } if file == path => Some(digest),
        _ => None,
    });
    match expected {
        Some(expected) if expected.as_bytes() != digest.as_bytes() => {
            let reason = format!(
                "its content is {digest}, not {expected} as it was pulled; remove the folder that it \
                 is in, and it is pulled again"
            );
            Err(invalid(path, reason))
        }
        _ => Ok((bytes, digest)),
    }
}

/// Finds the file of the component `name`. Files in earlier folders win.
pub(super) fn find(name: &str, folders: &[PathBuf]) -> Result<PathBuf, ComponentError> {
    let plain = !name.is_empty() && !name.contains('/') && !name.starts_with('.');
    if !plain {
        return Err(not_found(name, folders));
    }
    let mut other = None;
    for path in folders.iter().map(|folder| folder.join(format!("{name}.wasm"))) {
        match path.metadata() {
            Ok(found) if found.is_file() => return Ok(path),
            Ok(found) => _ = other.get_or_insert((path, found.file_type())),
            // Unreadable: the next folder may have it.
            Err(_) => {}
        }
    }
    match other {
        Some((path, kind)) => {
            Err(invalid(&path, format!("expected a file, found {}", files::kind(kind))))
        }
        None => Err(not_found(name, folders)),
    }
}

fn not_found(name: &str, folders: &[PathBuf]) -> ComponentError {
    let mut available: Vec<String> = folders
        .iter()
        .filter_map(|folder| folder.read_dir().ok())
        .flat_map(|entries| entries.filter_map(Result::ok))
        .filter(|entry| entry.path().is_file())
        .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".wasm").map(str::to_owned))
        .collect();
    available.sort();
    available.dedup();
    let similar = similar(name, available.iter().map(String::as_str));
    let hint = match (similar.first(), available.is_empty()) {
        (Some(similar), _) => format!("; did you mean {similar:?}?"),
        (None, false) => format!("; available: {}", available.join(", ")),
        (None, true) => String::new(),
    };
    let folders: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
    let folders = if folders.is_empty() {
        "components.path, which is empty".to_owned()
    } else {
        folders.join(", ")
    };
    ComponentError::NotFound { name: name.to_owned(), folders, hint }
}

/// Reads a file and hashes its content. The returned bytes are compiled, so that the digest always
/// belongs to the compiled content.
pub(super) fn read(path: &Path) -> Result<(Vec<u8>, Digest), ComponentError> {
    let unreadable = |source| ComponentError::Unreadable { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    files::open(path)
        .and_then(|file| file.take(Bound::ComponentBytes.most() + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    Bound::ComponentBytes
        .check(bytes.len())
        .map_err(|exceeded| invalid(path, exceeded.to_string()))?;
    if let Some(reason) = not_a_component(&bytes) {
        return Err(invalid(path, reason.to_owned()));
    }
    let digest = Digest::from(Sha256::digest(&bytes));
    Ok((bytes, digest))
}

/// Why these bytes are not a component, judged by the first ones.
fn not_a_component(bytes: &[u8]) -> Option<&'static str> {
    if bytes.is_empty() {
        return Some("file is empty");
    }
    match bytes.get(..8) {
        Some(b"\0asm\x0d\0\x01\0") => None,
        Some(b"\0asm\x01\0\0\0") => Some(
            "is a core module, not a component; convert it with wit-component \
             (wasm-tools component new)",
        ),
        _ if bytes.trim_ascii_start().starts_with(b"(") => {
            Some("is WebAssembly text; only the binary format is supported")
        }
        _ => Some("not a WebAssembly component"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_component_error_lists_folders_and_similar_names() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("rate_of_change.wasm"), b"").unwrap();
        let folders = [PathBuf::from("/nowhere"), folder.path().to_owned()];
        assert!(find("rate_of_change", &folders).is_ok());
        let error = find("rate_of_chang", &folders).unwrap_err().to_string();
        assert!(error.contains("/nowhere, ") && error.contains("did you mean"), "{error}");
        assert!(
            find("quite_other", &folders)
                .unwrap_err()
                .to_string()
                .contains("available: rate_of_change")
        );
        let outside = format!("../{}/rate_of_change", folder.path().display());
        assert!(find(&outside, &folders).is_err());
    }

    // Regression: no component "folder", did you mean "folder"?
    #[test]
    fn directory_is_reported_and_never_suggested() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("folder.wasm")).unwrap();
        let folders = [folder.path().to_owned()];
        let error = find("folder", &folders).unwrap_err().to_string();
        assert!(error.contains("found a folder") && !error.contains("did you mean"), "{error}");
        let error = find("folde", &folders).unwrap_err().to_string();
        assert!(!error.contains("did you mean"), "{error}");
        let later = tempfile::tempdir().unwrap();
        std::fs::write(later.path().join("folder.wasm"), b"").unwrap();
        assert!(find("folder", &[folders[0].clone(), later.path().to_owned()]).is_ok());
    }

    #[test]
    fn file_size_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large.wasm");
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(Bound::ComponentBytes.most()).unwrap();
        // All zeros: refused for its content, not for its size.
        assert!(read(&path).unwrap_err().to_string().contains("not a WebAssembly"));
        file.set_len(Bound::ComponentBytes.most() + 1).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("component_bytes"));
    }

    #[test]
    fn error_names_the_kind_of_file() {
        for (bytes, expected) in [
            (&b"\0asm\x01\0\0\0"[..], "core module"),
            (b"(component)", "text"),
            (b"", "empty"),
            (b"\x7fELF....", "not a WebAssembly"),
        ] {
            assert!(not_a_component(bytes).unwrap().contains(expected));
        }
        assert_eq!(not_a_component(b"\0asm\x0d\0\x01\0..."), None);
    }
}
