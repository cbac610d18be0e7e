//! Creates projects from the embedded templates.

use std::fs;
use std::path::{Path, PathBuf};

use super::embedded;
use super::error::{SdkError, at};
use super::files;
use super::language::{Kind, Language};

/// The schemes of built-in publishers.
const BUILT_IN_SCHEMES: [&str; 5] = ["notifier", "file", "udp", "tcp", "test"];

/// Creates a project in `parent/name` and returns its path. Its component builds and passes its tests.
///
/// # Errors
/// If the name is invalid, the path exists, there is no template, or a file cannot be written.
pub fn create(
    parent: &Path,
    name: &str,
    language: Language,
    kind: Kind,
) -> Result<PathBuf, SdkError> {
    check_name(name, kind)?;
    let files = embedded::project(language, kind).ok_or(SdkError::NoTemplate { kind, language })?;
    let folder = parent.join(name);
    match fs::create_dir(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(SdkError::Exists(folder));
        }
        result => result.map_err(at(&folder))?,
    }
    for (path, content) in files {
        write(&folder.join(path.replace("NAME", name)), content, name)?;
    }
    Ok(folder)
}

fn write(path: &Path, content: &[u8], name: &str) -> Result<(), SdkError> {
    // Only templates contain placeholders.
    let content = match std::str::from_utf8(content) {
        Ok(text) if text.contains("{{name}}") => text.replace("{{name}}", name).into_bytes(),
        _ => content.to_vec(),
    };
    files::write(path, content)
}

/// Requires a name that is valid as a file name, in YAML, as a crate name and as a URL scheme.
fn check_name(name: &str, kind: Kind) -> Result<(), SdkError> {
    let allowed =
        |one: char| one.is_ascii_lowercase() || one.is_ascii_digit() || matches!(one, '-' | '_');
    if !name.starts_with(|one: char| one.is_ascii_lowercase()) || !name.chars().all(allowed) {
        return Err(SdkError::Name(name.to_owned()));
    }
    if kind == Kind::Publisher && BUILT_IN_SCHEMES.contains(&name) {
        return Err(SdkError::BuiltIn(name.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_names_are_refused() {
        for good in ["scale", "idle-rate", "a_1"] {
            assert!(check_name(good, Kind::Publisher).is_ok(), "{good}");
        }
        for bad in ["", "1a", "-a", "a b", "a/b", "../a", "ä", "MySink"] {
            let error = check_name(bad, Kind::Transformer).unwrap_err().to_string();
            assert!(error.contains("start with a letter"), "{error}");
        }
        assert!(check_name("udp", Kind::Publisher).unwrap_err().to_string().contains("udp://"));
        assert!(check_name("udp", Kind::Transformer).is_ok());
    }

    #[test]
    fn existing_projects_are_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let project = create(folder.path(), "scale", Language::Python, Kind::Transformer).unwrap();
        assert!(project.join("wit/worlds.wit").is_file());
        let again = create(folder.path(), "scale", Language::C, Kind::Transformer);
        assert!(matches!(again, Err(SdkError::Exists(_))));
    }
}
