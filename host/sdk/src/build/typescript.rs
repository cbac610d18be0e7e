//! Builds TypeScript projects: writes the types of the contract, runs the compiler, then componentize-js.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::super::error::{SdkError, at};
use super::super::tools::run;
use super::super::{files, typescript};
use super::{Build, javascript};

pub(super) fn build(request: &Build) -> Result<(), SdkError> {
    let node = javascript::node(&request.folder)?;
    let work = request.work_folder()?;
    typescript::declarations(&request.wit()?, &request.world, &work.join("types"))?;
    let compiled = work.join("js");
    // What a removed source left behind would still be tested.
    if compiled.exists() {
        fs::remove_dir_all(&compiled).map_err(at(&compiled))?;
    }
    run(Command::new(&node).current_dir(&request.folder).arg("node_modules/typescript/bin/tsc"))?;
    // The library is JavaScript with declarations.
    copy_library(&request.folder.join("nephometer"), &compiled.join("nephometer"))?;
    javascript::componentize(&node, request, "build/js/component.js")
}

fn copy_library(from: &Path, to: &Path) -> Result<(), SdkError> {
    for entry in fs::read_dir(from).map_err(at(from))? {
        let path = entry.map_err(at(from))?.path();
        let name = path.file_name().unwrap_or_default();
        if path.extension().is_some_and(|one| one == "js") || name == "package.json" {
            files::write(&to.join(name), fs::read(&path).map_err(at(&path))?)?;
        }
    }
    Ok(())
}
