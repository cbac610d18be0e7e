//! Builds JavaScript projects with componentize-js.

use std::fs;
use std::process::Command;

use super::super::error::{SdkError, at};
use super::super::tools::{find, run};
use super::Build;

const REMEDY: &str = "install Node.js, version 20 or later, with npm (https://nodejs.org)";

pub(super) fn build(request: &Build) -> Result<(), SdkError> {
    let node = find("NODE", &["node"], REMEDY)?;
    if !request.folder.join("node_modules").is_dir() {
        let npm = find("NPM", &["npm"], REMEDY)?;
        run(Command::new(npm).current_dir(&request.folder).args([
            "ci",
            "--silent",
            "--no-audit",
            "--no-fund",
        ]))?;
    }
    let unfinished = request.output.with_extension("unfinished");
    run(Command::new(node)
        .current_dir(&request.folder)
        .arg("nephometer/componentize.js")
        .arg(request.wit()?)
        .arg(&request.world)
        .arg("component.js")
        .arg(&unfinished))?;
    fs::rename(&unfinished, &request.output).map_err(at(&request.output))
}
