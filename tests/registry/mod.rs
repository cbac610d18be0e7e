//! Components from registries: pushed, pulled, signed and pinned, with a real registry and with one
//! that lies.

mod agents;
mod commands;
mod hostile;
mod judges;
mod lying;
mod service;

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::harness::{Agent, Ended, Folder, component};
use crate::reload::variant;

/// A component that is new to the registry: the shipped one with a further custom section.
fn version(folder: &Folder, name: &str, version: &str) -> PathBuf {
    let bytes = variant(&fs::read(component(name)).unwrap(), version.parse().unwrap());
    let of_version = folder.at(version);
    fs::create_dir_all(&of_version).unwrap();
    let path = of_version.join(format!("{name}.wasm"));
    fs::write(&path, bytes).unwrap();
    path
}

/// A key pair: the path of the private key, and the public key as PEM.
fn key_pair(agent: &Agent, name: &str) -> (PathBuf, String) {
    let path = agent.folder.at(name);
    let file = path.to_str().unwrap();
    // This command needs no configuration.
    let made = std::process::Command::new(env!("CARGO_BIN_EXE_nephometer"))
        .args(["component", "new-key", file])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let public = fs::read_to_string(format!("{file}.pub")).unwrap();
    (path, public)
}

/// Pushes a file and returns the digest of the manifest.
fn push(agent: &Agent, file: &std::path::Path, reference: &str, key: Option<&PathBuf>) -> String {
    let mut arguments = vec!["component", "push", file.to_str().unwrap(), reference, "--json"];
    if let Some(key) = key {
        arguments.extend(["--sign", key.to_str().unwrap()]);
    }
    let pushed = agent.execute(&arguments).code(0);
    document(&pushed)["digest"].as_str().unwrap().to_owned()
}

/// The JSON that a command has printed.
fn document(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}
