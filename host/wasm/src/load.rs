//! From a name to a component that fits: found, read once, checked, compiled or taken from the
//! cache.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, InstancePre, Linker};

use super::bindings::exports::nephometer::metering as exported;
use super::error::ComponentError;
use super::instance::Guest;
use super::log::clean;
use super::options::near;
use nephometer_files as files;
use nephometer_model::Bound;

/// What every interface of the contract is called, up to its own name.
const CONTRACT: &str = "nephometer:metering/";
/// Versions of the contract that this host speaks.
const VERSION: &str = "0.1.";

/// SHA-256 of a component's file.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl<T: Into<[u8; 32]>> From<T> for Digest {
    fn from(bytes: T) -> Self {
        Self(bytes.into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A component that fits this host, ready to be instantiated.
pub struct LoadedComponent {
    /// The name in `pipeline.yaml`: the file's name without its ending.
    pub name: Arc<str>,
    /// The file.
    pub path: PathBuf,
    /// Of the file's content.
    pub digest: Digest,
    pub(super) pre: InstancePre<Guest>,
    pub(super) exports: Exports,
}

impl fmt::Debug for LoadedComponent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoadedComponent({}, {})", self.name, self.digest)
    }
}

/// Where the functions are.
pub(super) struct Exports {
    pub(super) component: exported::component::GuestIndices,
    pub(super) transform: exported::transform::GuestIndices,
    /// `None` for a component that keeps nothing.
    pub(super) stateful: Option<exported::stateful::GuestIndices>,
}

/// The file of the component `name`.
pub(super) fn find(name: &str, folders: &[PathBuf]) -> Result<PathBuf, ComponentError> {
    let plain = !name.is_empty() && !name.contains('/') && !name.starts_with('.');
    if !plain {
        return Err(not_found(name, folders));
    }
    let mut other = None;
    for path in folders.iter().map(|folder| folder.join(format!("{name}.wasm"))) {
        match path.metadata() {
            Ok(found) if found.is_file() => return Ok(path),
            Ok(found) => _ = other.get_or_insert((path, found.file_type())),
            // What cannot be looked at may be in the next folder.
            Err(_) => {}
        }
    }
    match other {
        Some((path, kind)) => Err(unfit(&path, format!("it is {}, not a file", files::kind(kind)))),
        None => Err(not_found(name, folders)),
    }
}

fn not_found(name: &str, folders: &[PathBuf]) -> ComponentError {
    let mut there: Vec<String> = folders
        .iter()
        .filter_map(|folder| folder.read_dir().ok())
        .flat_map(|entries| entries.filter_map(Result::ok))
        .filter(|entry| entry.path().is_file())
        .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".wasm").map(str::to_owned))
        .collect();
    there.sort();
    there.dedup();
    let alike = near(name, there.iter().map(String::as_str));
    let hint = match (alike.first(), there.is_empty()) {
        (Some(alike), _) => format!("; did you mean {alike:?}?"),
        (None, false) => format!("; there are {}", there.join(", ")),
        (None, true) => String::new(),
    };
    let folders: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
    let folders = if folders.is_empty() {
        "components.path, which is empty".to_owned()
    } else {
        folders.join(", ")
    };
    ComponentError::NotFound { name: name.to_owned(), folders, hint }
}

/// A file's content, read once: what is hashed is what is compiled.
pub(super) fn read(path: &Path) -> Result<(Vec<u8>, Digest), ComponentError> {
    let unreadable = |source| ComponentError::Unreadable { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    files::open(path)
        .and_then(|file| file.take(Bound::ComponentBytes.most() + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    Bound::ComponentBytes.check(bytes.len()).map_err(|over| unfit(path, over.to_string()))?;
    if let Some(reason) = not_a_component(&bytes) {
        return Err(unfit(path, reason.to_owned()));
    }
    let digest = Digest::from(Sha256::digest(&bytes));
    Ok((bytes, digest))
}

/// What the first bytes say.
fn not_a_component(bytes: &[u8]) -> Option<&'static str> {
    if bytes.is_empty() {
        return Some("it is empty");
    }
    match bytes.get(..8) {
        Some(b"\0asm\x0d\0\x01\0") => None,
        Some(b"\0asm\x01\0\0\0") => Some(
            "it is a core module, not a component; turn it into one with wit-component \
             (wasm-tools component new)",
        ),
        _ if bytes.trim_ascii_start().starts_with(b"(") => {
            Some("it is WebAssembly text; only the binary form is loaded")
        }
        _ => Some("it is no WebAssembly component"),
    }
}

/// Checks world and imports, and prepares instances.
pub(super) fn link(
    linker: &Linker<Guest>,
    component: &Component,
    path: &Path,
) -> Result<(InstancePre<Guest>, Exports), ComponentError> {
    let ty = component.component_type();
    let engine = linker.engine();
    let imports: Vec<(&str, bool)> =
        ty.imports(engine).map(|(name, item)| (name, is_types(engine, &item.ty))).collect();
    let exports: Vec<&str> = ty.exports(engine).map(|(name, _)| name).collect();
    // Its kind comes first: a publisher imports what no transformer gets.
    check_kind(&exports, "transform")
        .and_then(|()| check_imports(&imports))
        .and_then(|()| check_exports(&exports, "transform"))
        .map_err(|reason| unfit(path, reason))?;
    let remembers = exports.iter().any(|name| interface(name) == Some("stateful"));
    let linked = || -> wasmtime::Result<_> {
        let pre = linker.instantiate_pre(component)?;
        let exports = Exports {
            component: exported::component::GuestIndices::new(&pre)?,
            transform: exported::transform::GuestIndices::new(&pre)?,
            stateful: remembers.then(|| exported::stateful::GuestIndices::new(&pre)).transpose()?,
        };
        Ok((pre, exports))
    };
    linked().map_err(|error| {
        unfit(path, format!("it does not fit the contract: {}", clean(&format!("{error:#}"))))
    })
}

/// Packages of WASI that publishers may import. What is not granted of them is empty or refuses.
const WASI: [&str; 7] = [
    "wasi:cli/",
    "wasi:clocks/",
    "wasi:filesystem/",
    "wasi:http/",
    "wasi:io/",
    "wasi:random/",
    "wasi:sockets/",
];

/// Checks world and imports of a publisher.
pub(super) fn check_publisher(
    engine: &wasmtime::Engine,
    component: &Component,
) -> Result<(), String> {
    let ty = component.component_type();
    let imports: Vec<(&str, bool)> = ty
        .imports(engine)
        .filter(|(name, _)| !WASI.iter().any(|package| name.starts_with(package)))
        .map(|(name, item)| (name, is_types(engine, &item.ty)))
        .collect();
    let exports: Vec<&str> = ty.exports(engine).map(|(name, _)| name).collect();
    check_kind(&exports, "publish")?;
    check_exports(&exports, "publish")?;
    check_imports(&imports).map_err(|_| {
        let (name, _) = imports.first().expect("there is one that does not fit");
        let name = clean(name);
        format!("it imports {name}, which no publisher gets")
    })
}

/// Whether an import is an interface without functions: nothing that a component could use.
fn is_types(engine: &wasmtime::Engine, item: &ComponentItem) -> bool {
    match item {
        ComponentItem::ComponentInstance(instance) => {
            instance.exports(engine).all(|(_, item)| matches!(item.ty, ComponentItem::Type(_)))
        }
        _ => false,
    }
}

fn check_imports(imports: &[(&str, bool)]) -> Result<(), String> {
    for (name, only_types) in imports {
        match (interface(name), version(name)) {
            (Some("log" | "types"), Some(version)) if version.starts_with(VERSION) => {}
            (Some(_), Some(version)) if !version.starts_with(VERSION) => {
                return Err(other_version(name));
            }
            (Some(_), _) if *only_types => {}
            _ => {
                let name = clean(name);
                return Err(format!(
                    "it imports {name}; a transformer gets no clock, no random numbers, no files \
                     and no sockets, only {CONTRACT}log"
                ));
            }
        }
    }
    Ok(())
}

/// Whether it is of the other kind, and so was named in the wrong place.
fn check_kind(exports: &[&str], kind: &str) -> Result<(), String> {
    let has = |wanted: &str| exports.iter().any(|name| interface(name) == Some(wanted));
    match (kind, has("transform"), has("publish")) {
        (_, true, true) => {
            Err("it exports both transform and publish; a component is one of them".to_owned())
        }
        ("publish", true, false) => {
            Err("it is a transformer; name it under `transformers`".to_owned())
        }
        ("transform", false, true) => {
            Err("it is a publisher; name it under `publishers` as NAME://...".to_owned())
        }
        _ => Ok(()),
    }
}

fn check_exports(exports: &[&str], kind: &str) -> Result<(), String> {
    for wanted in ["component", kind] {
        match exports.iter().find(|name| interface(name) == Some(wanted)) {
            Some(name) if version(name).is_some_and(|v| v.starts_with(VERSION)) => {}
            Some(name) => return Err(other_version(name)),
            None => {
                let has = if exports.is_empty() {
                    "nothing".to_owned()
                } else {
                    clean(&exports.join(", "))
                };
                return Err(format!(
                    "it is no {}: it exports {has}, but not {CONTRACT}{wanted}@{VERSION}x",
                    if kind == "publish" { "publisher" } else { "transformer" }
                ));
            }
        }
    }
    Ok(())
}

fn other_version(name: &str) -> String {
    let name = clean(name);
    format!("it was built for {name}; this host speaks {CONTRACT}*@{VERSION}x")
}

/// The interface of the contract that a name stands for.
fn interface(name: &str) -> Option<&str> {
    let rest = name.strip_prefix(CONTRACT)?;
    Some(rest.split_once('@').map_or(rest, |(interface, _)| interface))
}

fn version(name: &str) -> Option<&str> {
    name.split_once('@').map(|(_, version)| version)
}

pub(super) fn unfit(path: &Path, reason: String) -> ComponentError {
    ComponentError::Unfit { path: path.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_not_there_is_answered_with_folders_and_likely_names() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("rate_of_change.wasm"), b"").unwrap();
        let folders = [PathBuf::from("/nowhere"), folder.path().to_owned()];
        assert!(find("rate_of_change", &folders).is_ok());
        let error = find("rate_of_chang", &folders).unwrap_err().to_string();
        assert!(error.contains("/nowhere, ") && error.contains("did you mean"), "{error}");
        assert!(find("quite_other", &folders).unwrap_err().to_string().contains("there are"));
        let outside = format!("../{}/rate_of_change", folder.path().display());
        assert!(find(&outside, &folders).is_err());
    }

    // A folder was once the answer to itself: no component "folder", did you mean "folder"?
    #[test]
    fn what_is_no_file_is_named_and_never_suggested() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("folder.wasm")).unwrap();
        let folders = [folder.path().to_owned()];
        let error = find("folder", &folders).unwrap_err().to_string();
        assert!(error.contains("it is a folder") && !error.contains("did you mean"), "{error}");
        let error = find("folde", &folders).unwrap_err().to_string();
        assert!(!error.contains("did you mean"), "{error}");
        let later = tempfile::tempdir().unwrap();
        std::fs::write(later.path().join("folder.wasm"), b"").unwrap();
        assert!(find("folder", &[folders[0].clone(), later.path().to_owned()]).is_ok());
    }

    #[test]
    fn a_component_has_at_most_so_many_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large.wasm");
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(Bound::ComponentBytes.most()).unwrap();
        // Nothing but zeros: refused for what it is, not for its size.
        assert!(read(&path).unwrap_err().to_string().contains("no WebAssembly"));
        file.set_len(Bound::ComponentBytes.most() + 1).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("component_bytes"));
    }

    #[test]
    fn what_is_no_component_is_told_apart() {
        for (bytes, word) in [
            (&b"\0asm\x01\0\0\0"[..], "core module"),
            (b"(component)", "text"),
            (b"", "empty"),
            (b"\x7fELF....", "no WebAssembly"),
        ] {
            assert!(not_a_component(bytes).unwrap().contains(word));
        }
        assert_eq!(not_a_component(b"\0asm\x0d\0\x01\0..."), None);
    }

    #[test]
    fn only_the_log_may_be_imported() {
        let log = ("nephometer:metering/log@0.1.0", false);
        assert!(check_imports(&[log, ("nephometer:metering/types@0.1.3", true)]).is_ok());
        let refused = check_imports(&[log, ("wasi:cli/environment@0.2.0", false)]).unwrap_err();
        assert!(refused.contains("wasi:cli/environment@0.2.0"), "{refused}");
        let refused = check_imports(&[("nephometer:metering/log@0.2.0", false)]).unwrap_err();
        assert!(refused.contains("was built for"), "{refused}");
        assert!(check_imports(&[("nephometer:metering/transform@0.1.0", false)]).is_err());
    }

    #[test]
    fn both_exports_are_wanted_in_a_version_that_is_known() {
        let good = ["nephometer:metering/component@0.1.0", "nephometer:metering/transform@0.1.9"];
        assert!(check_exports(&good, "transform").is_ok());
        assert!(check_exports(&good[..1], "transform").unwrap_err().contains("transform@0.1.x"));
        let other = [good[0], "nephometer:metering/transform@1.0.0"];
        assert!(check_exports(&other, "transform").unwrap_err().contains("was built for"));
        assert!(check_exports(&[], "transform").unwrap_err().contains("nothing"));
    }
}
