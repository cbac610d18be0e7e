//! Builds Rust projects with cargo for wasm32-unknown-unknown, a target without WASI.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::super::encode;
use super::super::error::SdkError;
use super::super::tools::{find, output};
use super::Build;

const TARGET: &str = "wasm32-unknown-unknown";
/// Debian's compiler. A package has the sources of its standard library.
const DEBIAN: &str = "/usr/bin/rustc";
const REMEDY: &str = "run `rustup target add wasm32-unknown-unknown`; or on Debian 12: apt-get install rustc-web rust-web-src";

pub(super) fn build(request: &Build) -> Result<(), SdkError> {
    let cargo = find("CARGO", &["cargo"], "install Rust (https://rustup.rs)")?;
    let mut command = Command::new(cargo);
    command.current_dir(&request.folder).args([
        "build",
        "--release",
        "--target",
        TARGET,
        "--message-format=json-render-diagnostics",
    ]);
    if !has_target(&request.folder)? {
        with_debian(&mut command, &request.folder)?;
    }
    let messages = output(&mut command)?;
    let module = messages.lines().rev().find_map(artifact).ok_or_else(|| SdkError::Missing {
        what: "a library of crate-type cdylib".to_owned(),
        remedy: "set `[lib] crate-type = [\"cdylib\", \"rlib\"]` in Cargo.toml".to_owned(),
    })?;
    encode::encode(&module, &request.output)
}

/// The wasm module of a cdylib that a message of cargo names.
fn artifact(message: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    let kinds = message["target"]["kind"].as_array()?;
    if message["reason"] != "compiler-artifact" || !kinds.iter().any(|kind| kind == "cdylib") {
        return None;
    }
    let files = message["filenames"].as_array()?.iter().filter_map(Value::as_str);
    files.map(PathBuf::from).find(|file| file.extension().is_some_and(|one| one == "wasm"))
}

fn rustc(folder: &Path, arguments: &[&str]) -> Result<PathBuf, SdkError> {
    let rustc = find("RUSTC", &["rustc"], "install Rust (https://rustup.rs)")?;
    let printed = output(Command::new(rustc).current_dir(folder).args(arguments))?;
    Ok(PathBuf::from(printed.trim()))
}

/// Whether the compiler has the standard library of the target.
fn has_target(folder: &Path) -> Result<bool, SdkError> {
    let libraries = rustc(folder, &["--print", "target-libdir", "--target", TARGET])?;
    Ok(libraries.read_dir().is_ok_and(|mut files| files.next().is_some()))
}

/// Uses Debian's compiler with the cargo and linker of the toolchain. Builds the standard library from
/// source, once.
fn with_debian(command: &mut Command, folder: &Path) -> Result<(), SdkError> {
    let sources = || -> Option<PathBuf> {
        let root = output(Command::new(DEBIAN).args(["--print", "sysroot"])).ok()?;
        Some(PathBuf::from(root.trim()).join("lib/rustlib/src/rust/library"))
    };
    if !Path::new(DEBIAN).is_file() || !sources().is_some_and(|folder| folder.is_dir()) {
        let what = format!("the target {TARGET} of this Rust");
        return Err(SdkError::Missing { what, remedy: REMEDY.to_owned() });
    }
    let own = rustc(folder, &["--print", "target-libdir"])?;
    let linker = own.parent().unwrap_or(&own).join("bin/rust-lld");
    command
        .env("RUSTC", DEBIAN)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker)
        .arg("-Zbuild-std=std,panic_abort");
    Ok(())
}
