//! Generates bindings of the contract for languages whose tools do not read WIT.

use std::path::Path;

use wit_bindgen_core::{Files, WorldGenerator};
use wit_parser::{Resolve, WorldId};

use super::error::SdkError;

/// Parses the contract and selects a world.
///
/// # Errors
/// If the contract cannot be read, or has no such world.
pub(super) fn world(wit: &Path, world: &str) -> Result<(Resolve, WorldId), SdkError> {
    let mut resolve = Resolve::default();
    let read = |resolve: &mut Resolve| {
        let (package, _) = resolve.push_dir(wit).map_err(|error| format!("{error:#}"))?;
        resolve.select_world(&[package], Some(world)).map_err(|error| format!("{error:#}"))
    };
    match read(&mut resolve) {
        Ok(world) => Ok((resolve, world)),
        Err(reason) => Err(SdkError::Contract { folder: wit.to_owned(), reason }),
    }
}

/// Writes C bindings into `folder`: header, source, and the object file that names the world.
///
/// # Errors
/// If the contract cannot be read, or a file cannot be written.
pub(super) fn c(wit: &Path, name: &str, folder: &Path) -> Result<(), SdkError> {
    let mut generator = wit_bindgen_c::Opts::default().build();
    generate(generator.as_mut(), wit, name, folder)
}

/// Writes a Go module, `nephometer/bindings`, into `folder`.
///
/// # Errors
/// As [`c`].
pub(super) fn go(wit: &Path, name: &str, folder: &Path) -> Result<(), SdkError> {
    // Publishers export other interfaces.
    let is_publisher = name.ends_with("publisher");
    let exports = if is_publisher { "nephometer/exportpublisher" } else { "nephometer/export" };
    let options = wit_bindgen_go::Opts {
        // Formatting would require `gofmt`.
        format: wit_bindgen_go::Format::False,
        pkg_name: Some("nephometer/bindings".to_owned()),
        export_pkg_name: Some(exports.to_owned()),
        ..wit_bindgen_go::Opts::default()
    };
    generate(options.build().as_mut(), wit, name, folder)
}

fn generate(
    generator: &mut dyn WorldGenerator,
    wit: &Path,
    name: &str,
    folder: &Path,
) -> Result<(), SdkError> {
    let (mut resolve, world) = world(wit, name)?;
    let mut files = Files::default();
    generator.generate(&mut resolve, world, &mut files).map_err(|error| SdkError::Contract {
        folder: wit.to_owned(),
        reason: format!("{error:#}"),
    })?;
    for (path, content) in files.iter() {
        super::files::write(&folder.join(path), content)?;
    }
    Ok(())
}
