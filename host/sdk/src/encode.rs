//! From a core module to a component.

use std::fs;
use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

use super::bindings;
use super::error::{SdkError, at};

/// Makes the component `output` of a core module that carries its world in a custom section, as
/// wit-bindgen puts it there. The file comes in one step: an agent that watches it never sees half.
///
/// # Errors
/// If the module is not as its world says, or a file cannot be read or written.
pub(super) fn encode(module: &Path, output: &Path) -> Result<(), SdkError> {
    let bytes = fs::read(module).map_err(at(module))?;
    write(module, &bytes, None, output)
}

/// As [`encode`], for a module that does not know of its world; `adapter` stands in for WASI, as
/// WebAssembly text.
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
        .map_err(|error| unfit(module, &error))?;
    let adapter = wat::parse_str(adapter).map_err(|error| unfit(module, &error))?;
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
    let component = encode().map_err(|error| unfit(module, &error))?;
    let unfinished = output.with_extension("unfinished");
    fs::write(&unfinished, component).map_err(at(&unfinished))?;
    fs::rename(&unfinished, output).map_err(at(output))
}

/// The alternate form carries the whole chain of causes.
fn unfit(module: &Path, error: &impl std::fmt::Display) -> SdkError {
    SdkError::Encode { module: module.to_owned(), reason: format!("{error:#}") }
}
