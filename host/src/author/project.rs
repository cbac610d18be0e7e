//! A new project.

use std::fs;
use std::path::{Path, PathBuf};

use super::embedded;
use super::error::{AuthorError, at};
use super::language::{Kind, Language};

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
) -> Result<PathBuf, AuthorError> {
    check_name(name)?;
    let files = embedded::project(language, kind)
        .ok_or(AuthorError::NoTemplate { kind, language })?;
    let folder = parent.join(name);
    match fs::create_dir(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(AuthorError::Exists(folder));
        }
        made => made.map_err(at(&folder))?,
    }
    for (path, content) in files {
        write(&folder.join(path.replace("NAME", name)), content, name)?;
    }
    Ok(folder)
}

fn write(path: &Path, content: &[u8], name: &str) -> Result<(), AuthorError> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(at(parent))?;
    }
    // Only the templates have places for names in them.
    let content = match std::str::from_utf8(content) {
        Ok(text) if text.contains("{{name}}") || text.contains("{{Name}}") => {
            let text = text.replace("{{name}}", name).replace("{{Name}}", &type_name(name));
            text.into_bytes()
        }
        _ => content.to_vec(),
    };
    fs::write(path, content).map_err(at(path))
}

/// What is a file name, a word of YAML and part of a crate's name alike.
fn check_name(name: &str) -> Result<(), AuthorError> {
    let plain = |one: char| one.is_ascii_alphanumeric() || matches!(one, '-' | '_');
    if name.starts_with(|one: char| one.is_ascii_alphabetic()) && name.chars().all(plain) {
        Ok(())
    } else {
        Err(AuthorError::Name(name.to_owned()))
    }
}

/// As types are written: `idle-rate` is `IdleRate`.
fn type_name(name: &str) -> String {
    let words = name.split(['-', '_']).filter(|word| !word.is_empty());
    words.map(|word| word[..1].to_ascii_uppercase() + &word[1..]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_not_work_are_refused() {
        for good in ["scale", "idle-rate", "a_1"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "1a", "-a", "a b", "a/b", "../a", "ä"] {
            assert!(check_name(bad).unwrap_err().to_string().contains("begin with a letter"));
        }
        assert_eq!(type_name("idle-rate_2"), "IdleRate2");
    }

    #[test]
    fn nothing_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let made = create(folder.path(), "scale", Language::Python, Kind::Transformer).unwrap();
        assert!(made.join("wit/worlds.wit").is_file());
        let again = create(folder.path(), "scale", Language::C, Kind::Transformer);
        assert!(matches!(again, Err(AuthorError::Exists(_))));
    }
}
