//! Turns core modules into components.

use std::fs;
use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

use super::bindings;
use super::error::{SdkError, at};

/// Turns a core module into the component `output`. The module names its world in a custom section, as
/// wit-bindgen writes it. The file is renamed into place, so that an agent never sees a partial one.
///
/// # Errors
/// If the module does not implement its world, or a file cannot be read or written.
pub(super) fn encode(module: &Path, output: &Path) -> Result<(), SdkError> {
    let bytes = fs::read(module).map_err(at(module))?;
    write(module, &bytes, None, output)
}

/// As [`encode`], for a module that does not name its world. `adapter` replaces WASI, as WebAssembly
/// text.
///
/// # Errors
/// As [`encode`], and if the contract cannot be read.
pub(super) fn embed(
    module: &Path,
    wit: &Path,
    world: &str,
    adapter: &str,
    output: &Path,
) -> Result<(), SdkError> {
    let mut bytes = fs::read(module).map_err(at(module))?;
    let (resolve, world) = bindings::world(wit, world)?;
    embed_component_metadata(&mut bytes, &resolve, world, StringEncoding::UTF8)
        .map_err(|error| encode_error(module, &error))?;
    let adapter = wat::parse_str(adapter).map_err(|error| encode_error(module, &error))?;
    write(module, &bytes, Some(&adapter), output)
}

fn write(
    module: &Path,
    bytes: &[u8],
    adapter: Option<&[u8]>,
    output: &Path,
) -> Result<(), SdkError> {
    let encode = || {
        let mut encoder = ComponentEncoder::default();
        encoder.module(bytes)?;
        if let Some(adapter) = adapter {
            encoder.adapter("wasi_snapshot_preview1", adapter)?;
        }
        encoder.validate(true).encode()
    };
    let component = encode().map_err(|error| encode_error(module, &error))?;
    let unfinished = output.with_extension("unfinished");
    fs::write(&unfinished, component).map_err(at(&unfinished))?;
    fs::rename(&unfinished, output).map_err(at(output))
}

/// Wraps an error; the alternate form prints its causes.
fn encode_error(module: &Path, error: &impl std::fmt::Display) -> SdkError {
    SdkError::Encode { module: module.to_owned(), reason: format!("{error:#}") }
}
