//! Builds JavaScript projects with componentize-js.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::error::{SdkError, at};
use super::super::tools::{find, run};
use super::Build;

const REMEDY: &str = "install Node.js, version 20 or later, with npm (https://nodejs.org)";

pub(super) fn build(request: &Build) -> Result<(), SdkError> {
    let node = node(&request.folder)?;
    componentize(&node, request, "component.js")
}

/// Finds Node.js, and installs the packages of the project if they are not there.
///
/// # Errors
/// If Node.js or npm is missing, or the packages cannot be installed.
pub(super) fn node(folder: &Path) -> Result<PathBuf, SdkError> {
    let node = find("NODE", &["node"], REMEDY)?;
    if !folder.join("node_modules").is_dir() {
        let npm = find("NPM", &["npm"], REMEDY)?;
        run(Command::new(npm).current_dir(folder).args([
            "ci",
            "--silent",
            "--no-audit",
            "--no-fund",
        ]))?;
    }
    Ok(node)
}

/// Builds the component from a module of the project.
///
/// # Errors
/// If the module does not implement the world, or a file cannot be written.
pub(super) fn componentize(node: &Path, request: &Build, module: &str) -> Result<(), SdkError> {
    let unfinished = request.output.with_extension("unfinished");
    run(Command::new(node)
        .current_dir(&request.folder)
        .arg("nephometer/componentize.js")
        .arg(request.wit()?)
        .arg(&request.world)
        .arg(module)
        .arg(&unfinished))?;
    fs::rename(&unfinished, &request.output).map_err(at(&request.output))
}
