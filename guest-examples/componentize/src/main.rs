//! `componentize IN.wasm OUT.wasm`: the core module IN, built with wit-bindgen, as a component.
//!
//! Given a module that carries its world in a custom section; gives back a validated component
//! with the same code. No adapter is used, so the component imports what its world imports, and
//! never WASI. OUT is written only if it differs from what is there, and then in one step, so
//! that an agent that watches the file never sees half of it.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use wit_component::ComponentEncoder;

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    let [input, output] = arguments.as_slice() else {
        eprintln!("usage: componentize IN.wasm OUT.wasm");
        return ExitCode::from(64);
    };
    match componentize(input, output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("componentize: {}: {error}", input.display());
            ExitCode::FAILURE
        }
    }
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
