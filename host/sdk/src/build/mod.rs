//! A project becomes a component: the language's own tool, and the step behind it where that tool
//! does not make components.

mod c;
mod go;
mod javascript;
mod python;
mod rust;
mod zig;

use std::fs;
use std::path::PathBuf;

use super::embedded::{self, is_test};
use super::error::{SdkError, at};
use super::files;
use super::language::Language;

/// What is to be built.
#[derive(Debug)]
pub struct Build {
    /// The project's folder, absolute.
    pub folder: PathBuf,
    /// The component.
    pub output: PathBuf,
    /// The world of the contract, for languages whose sources do not name it.
    pub world: String,
}

/// Builds a project. Gives back its language.
///
/// # Errors
/// If the folder is no project, a tool is not there or fails, or what it made is no component.
pub fn build(what: &Build) -> Result<Language, SdkError> {
    let Some(language) = Language::of(&what.folder) else {
        let (folder, marks) = (what.folder.clone(), Language::marks());
        return Err(SdkError::NoProject { folder, marks });
    };
    match language {
        Language::Rust => rust::build(what),
        Language::C => c::build(what),
        Language::JavaScript => javascript::build(what),
        Language::Python => python::build(what),
        Language::Go => go::build(what),
        Language::Zig => zig::build(what),
    }?;
    Ok(language)
}

impl Build {
    /// Where what is made on the way goes.
    fn work(&self) -> Result<PathBuf, SdkError> {
        let folder = self.folder.join("build");
        fs::create_dir_all(&folder).map_err(at(&folder))?;
        Ok(folder)
    }

    /// The project's copy of the contract; where it has none, ours.
    fn wit(&self) -> Result<PathBuf, SdkError> {
        let own = self.folder.join("wit");
        if own.is_dir() {
            return Ok(own);
        }
        let work = self.work()?;
        for (path, content) in embedded::contract() {
            files::write(&work.join(path), content)?;
        }
        Ok(work.join("wit"))
    }

    /// Files of the project that end so, also those of the helper library, without tests.
    fn sources(&self, ending: &str) -> Result<Vec<PathBuf>, SdkError> {
        let mut found = Vec::new();
        for folder in [self.folder.clone(), self.folder.join("nephometer")] {
            for entry in fs::read_dir(&folder).map_err(at(&folder))? {
                let path = entry.map_err(at(&folder))?.path();
                let test = path.file_name().is_some_and(|name| is_test(&name.to_string_lossy()));
                if !test && path.extension().is_some_and(|one| one == ending) {
                    found.push(path);
                }
            }
        }
        found.sort();
        Ok(found)
    }
}
