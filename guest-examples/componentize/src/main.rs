//! `componentize IN.wasm OUT.wasm` converts a core module, built with wit-bindgen, to a component.
//!
//! The module carries its world in a custom section. No adapter is used, so the component imports
//! only what its world imports, and never WASI beyond that. OUT is only written if it changes, and
//! atomically, so that an agent that watches the file never reads half of it.
//!
//! `componentize check-contract OLD NEW` checks that the interfaces in the folder NEW are
//! compatible with those in OLD; see [`contract`].

mod contract;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use wit_component::ComponentEncoder;

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    let result = match arguments.as_slice() {
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
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("componentize: {error}");
            ExitCode::FAILURE
        }
    }
}

fn check_contract(old: &Path, new: &Path) -> Result<(), String> {
    let compared = contract::compare(old, new)?;
    if !compared.added.is_empty() {
        println!("added: {}", compared.added.join(", "));
    }
    if compared.broken.is_empty() {
        let unchanged = compared.kept.join(", ");
        println!("ok: {} is compatible with {}: {unchanged}", new.display(), compared.old);
        return Ok(());
    }
    for change in &compared.broken {
        eprintln!("incompatible: {change}");
    }
    Err(format!("{} is not compatible with {}", new.display(), compared.old))
}

fn componentize(input: &Path, output: &Path) -> Result<(), Box<dyn Error>> {
    let module = fs::read(input)?;
    let component = ComponentEncoder::default()
        .module(&module)
        .and_then(|encoder| encoder.validate(true).encode())
        // The alternate form carries the whole chain of causes.
        .map_err(|error| format!("{error:#}"))?;
    if fs::read(output).is_ok_and(|existing| existing == component) {
        return Ok(());
    }
    let unfinished = output.with_extension("unfinished");
    fs::write(&unfinished, &component)
        .and_then(|()| fs::rename(&unfinished, output))
        .map_err(|error| format!("{}: {error}", output.display()))?;
    Ok(())
}
