//! A new project.

use std::fs;
use std::path::{Path, PathBuf};

use super::embedded;
use super::error::{SdkError, at};
use super::files;
use super::language::{Kind, Language};

/// Schemes that never reach a component.
const BUILT_IN: [&str; 5] = ["notifier", "file", "udp", "tcp", "test"];

/// Makes the folder `parent/name` with a component that builds and passes its tests. Gives back the
/// folder.
///
/// # Errors
/// If the name is none, something of that name is there, there is no template, or a file cannot be
/// written. Nothing that is there is overwritten.
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
        made => made.map_err(at(&folder))?,
    }
    for (path, content) in files {
        write(&folder.join(path.replace("NAME", name)), content, name)?;
    }
    Ok(folder)
}

fn write(path: &Path, content: &[u8], name: &str) -> Result<(), SdkError> {
    // Only the templates have places for names in them.
    let content = match std::str::from_utf8(content) {
        Ok(text) if text.contains("{{name}}") => text.replace("{{name}}", name).into_bytes(),
        _ => content.to_vec(),
    };
    files::write(path, content)
}

/// What is a file name, a word of YAML, a part of a crate's name and the scheme of a URL alike.
fn check_name(name: &str, kind: Kind) -> Result<(), SdkError> {
    let plain =
        |one: char| one.is_ascii_lowercase() || one.is_ascii_digit() || matches!(one, '-' | '_');
    if !name.starts_with(|one: char| one.is_ascii_lowercase()) || !name.chars().all(plain) {
        return Err(SdkError::Name(name.to_owned()));
    }
    if kind == Kind::Publisher && BUILT_IN.contains(&name) {
        return Err(SdkError::BuiltIn(name.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_not_work_are_refused() {
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
    fn nothing_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let made = create(folder.path(), "scale", Language::Python, Kind::Transformer).unwrap();
        assert!(made.join("wit/worlds.wit").is_file());
        let again = create(folder.path(), "scale", Language::C, Kind::Transformer);
        assert!(matches!(again, Err(SdkError::Exists(_))));
    }
}
