//! Python: componentize-py, in an environment of the project's own unless it is on the path.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::error::{SdkError, at};
use super::super::files;
use super::super::tools::{find, on_path, run};
use super::Build;

pub(super) fn build(what: &Build) -> Result<(), SdkError> {
    let tool = match on_path(&["componentize-py"]) {
        Some(tool) => tool,
        None => environment(&what.folder)?,
    };
    // Of a copy: what it loads leaves bytecode beside the sources, and all that it finds goes in.
    let copy = what.work()?.join("sources");
    if copy.exists() {
        fs::remove_dir_all(&copy).map_err(at(&copy))?;
    }
    for source in what.sources("py")? {
        let to = copy.join(source.strip_prefix(&what.folder).unwrap_or(&source));
        files::write(&to, fs::read(&source).map_err(at(&source))?)?;
    }
    let unfinished = what.output.with_extension("unfinished");
    run(Command::new(tool)
        .arg("--quiet")
        .arg("-d")
        .arg(what.wit()?)
        .args(["-w", &what.world, "componentize", "--stub-wasi", "-p"])
        .arg(&copy)
        .arg("component")
        .arg("-o")
        .arg(&unfinished))?;
    fs::rename(&unfinished, &what.output).map_err(at(&what.output))
}

/// `.venv` with what `requirements.txt` names.
fn environment(folder: &Path) -> Result<PathBuf, SdkError> {
    let own = folder.join(".venv");
    let tool = own.join("bin/componentize-py");
    if !tool.is_file() {
        let remedy = "on Debian: apt-get install python3 python3-venv";
        let python = find("PYTHON", &["python3"], remedy)?;
        run(Command::new(python).args(["-m", "venv"]).arg(&own))?;
        run(Command::new(own.join("bin/pip"))
            .args(["install", "--quiet", "--disable-pip-version-check", "-r"])
            .arg(folder.join("requirements.txt")))?;
    }
    Ok(tool)
}
