//! Builds the component of a project: runs the tool of its language, and turns the output into a
//! component if the tool does not.

mod c;
mod go;
mod javascript;
mod python;
mod rust;
mod typescript;
mod zig;

use std::fs;
use std::path::{Path, PathBuf};

use super::embedded::{self, is_test};
use super::error::{SdkError, at};
use super::files;
use super::language::Language;

/// A project to build.
#[derive(Debug)]
pub struct Build {
    /// The project's folder, absolute.
    pub folder: PathBuf,
    /// The component file to write.
    pub output: PathBuf,
    /// The world of the contract, for languages whose sources do not name one; see [`world_of`].
    pub world: String,
}

/// The file of a project that names its world.
const WORLD_FILE: &str = "component.world";

/// The world of the contract that a project names in its `component.world`; without that file the one of
/// transformers with state.
///
/// # Errors
/// If the file cannot be read.
pub fn world_of(folder: &Path) -> Result<String, SdkError> {
    let file = folder.join(WORLD_FILE);
    match fs::read_to_string(&file) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Ok("stateful-transformer".to_owned())
        }
        Err(error) => Err(at(&file)(error)),
    }
}

/// Builds a project and returns its language.
///
/// # Errors
/// If the folder is not a project, a tool is missing or fails, or its output is not a component.
pub fn build(request: &Build) -> Result<Language, SdkError> {
    let Some(language) = Language::detect(&request.folder) else {
        let (folder, marks) = (request.folder.clone(), Language::markers());
        return Err(SdkError::NoProject { folder, marks });
    };
    match language {
        Language::Rust => rust::build(request),
        Language::C => c::build(request),
        Language::JavaScript => javascript::build(request),
        Language::TypeScript => typescript::build(request),
        Language::Python => python::build(request),
        Language::Go => go::build(request),
        Language::Zig => zig::build(request),
    }?;
    Ok(language)
}

impl Build {
    /// The folder for intermediate files.
    fn work_folder(&self) -> Result<PathBuf, SdkError> {
        let folder = self.folder.join("build");
        fs::create_dir_all(&folder).map_err(at(&folder))?;
        Ok(folder)
    }

    /// The project's copy of the contract, or else the embedded one.
    fn wit(&self) -> Result<PathBuf, SdkError> {
        let own = self.folder.join("wit");
        if own.is_dir() {
            return Ok(own);
        }
        let work = self.work_folder()?;
        for (path, content) in embedded::contract() {
            files::write(&work.join(path), content)?;
        }
        Ok(work.join("wit"))
    }

    /// The source files of the project and its helper library with this extension, without tests.
    fn sources(&self, extension: &str) -> Result<Vec<PathBuf>, SdkError> {
        let mut found = Vec::new();
        for folder in [self.folder.clone(), self.folder.join("nephometer")] {
            for entry in fs::read_dir(&folder).map_err(at(&folder))? {
                let path = entry.map_err(at(&folder))?.path();
                let test = path.file_name().is_some_and(|name| is_test(&name.to_string_lossy()));
                if !test && path.extension().is_some_and(|one| one == extension) {
                    found.push(path);
                }
            }
        }
        found.sort();
        Ok(found)
    }
}
