//! Finds and runs the tools of the languages.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::error::{SdkError, at};

/// Finds the first installed program. An environment variable with its name or path takes
/// precedence.
///
/// # Errors
/// If none is installed, with a remedy.
pub(super) fn find(variable: &str, names: &[&str], remedy: &str) -> Result<PathBuf, SdkError> {
    if let Some(named) = std::env::var_os(variable) {
        let (path, named) = (PathBuf::from(&named), named.to_string_lossy().into_owned());
        let found = if path.is_absolute() {
            is_executable(&path).then_some(path)
        } else {
            on_path(&[&named])
        };
        let what = format!("{named}, named by {variable},");
        return found.ok_or_else(|| SdkError::Missing { what, remedy: remedy.to_owned() });
    }
    on_path(names).ok_or_else(|| SdkError::Missing {
        what: names[0].to_owned(),
        remedy: format!("{remedy}, or set {variable}"),
    })
}

/// The first of these programs in PATH.
pub(super) fn on_path(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let all = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    all.into_iter().find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Runs a program with its output on standard error, to keep standard output for this command.
///
/// # Errors
/// If it cannot be started, or fails.
pub(super) fn run(command: &mut Command) -> Result<(), SdkError> {
    let status = command
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .map_err(at(Path::new(command.get_program())))?;
    if status.success() {
        return Ok(());
    }
    Err(SdkError::Failed { command: command_line(command), status })
}

/// Runs a program and returns its standard output.
///
/// # Errors
/// If it cannot be started, or fails.
pub(super) fn output(command: &mut Command) -> Result<String, SdkError> {
    let out = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(at(Path::new(command.get_program())))?;
    if !out.status.success() {
        return Err(SdkError::Failed { command: command_line(command), status: out.status });
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

fn command_line(command: &Command) -> String {
    let all = std::iter::once(command.get_program()).chain(command.get_args());
    all.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}
