//! JavaScript: componentize-js.

use std::fs;
use std::process::Command;

use super::super::error::{SdkError, at};
use super::super::tools::{find, run};
use super::Build;

const REMEDY: &str = "install Node.js, version 20 or later, with npm (https://nodejs.org)";

pub(super) fn build(what: &Build) -> Result<(), SdkError> {
    let node = find("NODE", &["node"], REMEDY)?;
    if !what.folder.join("node_modules").is_dir() {
        let npm = find("NPM", &["npm"], REMEDY)?;
        run(Command::new(npm).current_dir(&what.folder).args([
            "ci",
            "--silent",
            "--no-audit",
            "--no-fund",
        ]))?;
    }
    let unfinished = what.output.with_extension("unfinished");
    run(Command::new(node)
        .current_dir(&what.folder)
        .arg("nephometer/componentize.js")
        .arg(what.wit()?)
        .arg(&what.world)
        .arg("component.js")
        .arg(&unfinished))?;
    fs::rename(&unfinished, &what.output).map_err(at(&what.output))
}
