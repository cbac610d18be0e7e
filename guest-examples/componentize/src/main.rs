//! `componentize IN.wasm OUT.wasm`: the core module IN, built with wit-bindgen, as a component.
//!
//! Given a module that carries its world in a custom section; gives back a validated component
//! with the same code. No adapter is used, so the component imports what its world imports, and
//! never WASI beyond that. OUT is written only if it differs from what is there, and then in one
//! step, so that an agent that watches the file never sees half of it.
//!
//! `componentize check-contract OLD NEW`: whether the interface descriptions in the folder NEW keep
//! all that those in OLD promised; see [`contract`].

mod contract;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use wit_component::ComponentEncoder;

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    let done = match arguments.as_slice() {
        [mode, old, new] if mode.as_os_str() == "check-contract" => check_contract(old, new),
        [input, output] => {
            componentize(input, output).map_err(|error| format!("{}: {error}", input.display()))
        }
        _ => {
            eprintln!("usage: componentize IN.wasm OUT.wasm");
            eprintln!("       componentize check-contract OLD_WIT_DIR NEW_WIT_DIR");
            return ExitCode::from(64);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("componentize: {error}");
            ExitCode::FAILURE
        }
    }
}

fn check_contract(old: &Path, new: &Path) -> Result<(), String> {
    let compared = contract::compare(old, new)?;
    println!("{} keeps {}: {}", new.display(), compared.old, compared.kept.join(", "));
    if !compared.added.is_empty() {
        println!("new: {}", compared.added.join(", "));
    }
    if compared.broken.is_empty() {
        return Ok(());
    }
    for one in &compared.broken {
        eprintln!("broken: {one}");
    }
    Err(format!("{} breaks what {} promised", new.display(), compared.old))
}

fn componentize(input: &Path, output: &Path) -> Result<(), Box<dyn Error>> {
    let module = fs::read(input)?;
    let component = ComponentEncoder::default()
        .module(&module)
        .and_then(|encoder| encoder.validate(true).encode())
        // The alternate form carries the whole chain of causes.
        .map_err(|error| format!("{error:#}"))?;
    if fs::read(output).is_ok_and(|there| there == component) {
        return Ok(());
    }
    let unfinished = output.with_extension("unfinished");
    fs::write(&unfinished, &component)
        .and_then(|()| fs::rename(&unfinished, output))
        .map_err(|error| format!("{}: {error}", output.display()))?;
    Ok(())
}
