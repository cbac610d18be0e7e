//! From a name to the bytes of a component: found, and read once.

use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::digest::Digest;
use super::error::{ComponentError, unfit};
use super::options::near;
use nephometer_files as files;
use nephometer_model::Bound;

/// The file of the component `name`.
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
            // What cannot be looked at may be in the next folder.
            Err(_) => {}
        }
    }
    match other {
        Some((path, kind)) => Err(unfit(&path, format!("it is {}, not a file", files::kind(kind)))),
        None => Err(not_found(name, folders)),
    }
}

fn not_found(name: &str, folders: &[PathBuf]) -> ComponentError {
    let mut there: Vec<String> = folders
        .iter()
        .filter_map(|folder| folder.read_dir().ok())
        .flat_map(|entries| entries.filter_map(Result::ok))
        .filter(|entry| entry.path().is_file())
        .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".wasm").map(str::to_owned))
        .collect();
    there.sort();
    there.dedup();
    let alike = near(name, there.iter().map(String::as_str));
    let hint = match (alike.first(), there.is_empty()) {
        (Some(alike), _) => format!("; did you mean {alike:?}?"),
        (None, false) => format!("; there are {}", there.join(", ")),
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

/// A file's content, read once: what is hashed is what is compiled.
pub(super) fn read(path: &Path) -> Result<(Vec<u8>, Digest), ComponentError> {
    let unreadable = |source| ComponentError::Unreadable { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    files::open(path)
        .and_then(|file| file.take(Bound::ComponentBytes.most() + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    Bound::ComponentBytes.check(bytes.len()).map_err(|over| unfit(path, over.to_string()))?;
    if let Some(reason) = not_a_component(&bytes) {
        return Err(unfit(path, reason.to_owned()));
    }
    let digest = Digest::from(Sha256::digest(&bytes));
    Ok((bytes, digest))
}

/// What the first bytes say.
fn not_a_component(bytes: &[u8]) -> Option<&'static str> {
    if bytes.is_empty() {
        return Some("it is empty");
    }
    match bytes.get(..8) {
        Some(b"\0asm\x0d\0\x01\0") => None,
        Some(b"\0asm\x01\0\0\0") => Some(
            "it is a core module, not a component; turn it into one with wit-component \
             (wasm-tools component new)",
        ),
        _ if bytes.trim_ascii_start().starts_with(b"(") => {
            Some("it is WebAssembly text; only the binary form is loaded")
        }
        _ => Some("it is no WebAssembly component"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_not_there_is_answered_with_folders_and_likely_names() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("rate_of_change.wasm"), b"").unwrap();
        let folders = [PathBuf::from("/nowhere"), folder.path().to_owned()];
        assert!(find("rate_of_change", &folders).is_ok());
        let error = find("rate_of_chang", &folders).unwrap_err().to_string();
        assert!(error.contains("/nowhere, ") && error.contains("did you mean"), "{error}");
        assert!(find("quite_other", &folders).unwrap_err().to_string().contains("there are"));
        let outside = format!("../{}/rate_of_change", folder.path().display());
        assert!(find(&outside, &folders).is_err());
    }

    // A folder was once the answer to itself: no component "folder", did you mean "folder"?
    #[test]
    fn what_is_no_file_is_named_and_never_suggested() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("folder.wasm")).unwrap();
        let folders = [folder.path().to_owned()];
        let error = find("folder", &folders).unwrap_err().to_string();
        assert!(error.contains("it is a folder") && !error.contains("did you mean"), "{error}");
        let error = find("folde", &folders).unwrap_err().to_string();
        assert!(!error.contains("did you mean"), "{error}");
        let later = tempfile::tempdir().unwrap();
        std::fs::write(later.path().join("folder.wasm"), b"").unwrap();
        assert!(find("folder", &[folders[0].clone(), later.path().to_owned()]).is_ok());
    }

    #[test]
    fn a_component_has_at_most_so_many_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large.wasm");
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(Bound::ComponentBytes.most()).unwrap();
        // Nothing but zeros: refused for what it is, not for its size.
        assert!(read(&path).unwrap_err().to_string().contains("no WebAssembly"));
        file.set_len(Bound::ComponentBytes.most() + 1).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("component_bytes"));
    }

    #[test]
    fn what_is_no_component_is_told_apart() {
        for (bytes, word) in [
            (&b"\0asm\x01\0\0\0"[..], "core module"),
            (b"(component)", "text"),
            (b"", "empty"),
            (b"\x7fELF....", "no WebAssembly"),
        ] {
            assert!(not_a_component(bytes).unwrap().contains(word));
        }
        assert_eq!(not_a_component(b"\0asm\x0d\0\x01\0..."), None);
    }
}
