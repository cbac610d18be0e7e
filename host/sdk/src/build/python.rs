//! Builds Python projects with componentize-py, from PATH or the project's virtual environment.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::error::{SdkError, at};
use super::super::files;
use super::super::tools::{find, on_path, run};
use super::Build;

pub(super) fn build(request: &Build) -> Result<(), SdkError> {
    let tool = match on_path(&["componentize-py"]) {
        Some(tool) => tool,
        None => environment(&request.folder)?,
    };
    // Builds from a copy: loading leaves bytecode beside the sources, and every file found goes in.
    let copy = request.work_folder()?.join("sources");
    if copy.exists() {
        fs::remove_dir_all(&copy).map_err(at(&copy))?;
    }
    for source in request.sources("py")? {
        let to = copy.join(source.strip_prefix(&request.folder).unwrap_or(&source));
        files::write(&to, fs::read(&source).map_err(at(&source))?)?;
    }
    let unfinished = request.output.with_extension("unfinished");
    let mut command = Command::new(tool);
    command.arg("--quiet").arg("-d").arg(request.wit()?);
    command.args(["-w", &request.world, "componentize"]);
    // The stubs would trap in the functions that these worlds import, too.
    if !matches!(request.world.as_str(), "http-publisher" | "socket-publisher") {
        command.arg("--stub-wasi");
    }
    run(command.arg("-p").arg(&copy).arg("component").arg("-o").arg(&unfinished))?;
    fs::rename(&unfinished, &request.output).map_err(at(&request.output))
}

/// Creates `.venv` with the packages of `requirements.txt`, and returns its componentize-py.
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
