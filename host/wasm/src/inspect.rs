//! Inspects a component file for operators: kind, contract, imports, description, producers.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use wasmparser::{KnownCustom, Parser, Payload, ProducersSectionReader};
use wasmtime::component::Component;

use super::host::{ComponentHost, stem};
use super::load;
use super::log::clean;
use super::publisher::PublisherRole;
use super::transformer::TransformerRole;
use super::{ComponentError, Description, Digest};

/// Properties of a component that need no pipeline.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// The file.
    pub path: PathBuf,
    /// Size of the file, bytes.
    pub size: u64,
    /// Digest of the file.
    pub digest: Digest,
    /// Whether it is a publisher; a transformer otherwise.
    pub publisher: bool,
    /// Imported interfaces, as `package/interface@version`.
    pub imports: Vec<String>,
    /// Exported interfaces, likewise.
    pub exports: Vec<String>,
    /// The component's own description.
    pub description: Description,
    /// Fields of all producers sections, such as `language: Rust` and `processed-by: rustc 1.96.0`;
    /// empty if there are none.
    pub producers: Vec<(String, String)>,
}

impl Inspection {
    /// The version of the contract that it was built with.
    pub fn contract(&self) -> Option<&str> {
        let exports = self.exports.iter().find(|name| name.contains("/component@"));
        exports.and_then(|name| name.split_once('@')).map(|(_, version)| version)
    }

    /// Whether it keeps state between batches.
    pub fn is_stateful(&self) -> bool {
        self.exports.iter().any(|name| name.contains("/stateful@"))
    }

    /// The network interfaces that it imports; `None` if it uses no network.
    pub fn network_use(&self) -> Option<&'static str> {
        let imports = |package| self.imports.iter().any(|name| name.starts_with(package));
        match (imports("wasi:http/"), imports("wasi:sockets/")) {
            (true, true) => Some("HTTP and sockets"),
            (true, false) => Some("HTTP"),
            (false, true) => Some("sockets"),
            (false, false) => None,
        }
    }
}

impl ComponentHost {
    /// Loads a component of either kind, as the agent would, and reads its description.
    ///
    /// # Errors
    /// If the agent would refuse it.
    pub async fn inspect(&self, path: &Path) -> Result<Inspection, ComponentError> {
        self.inspect_as(path, &stem(path)).await
    }

    /// The same for the component that the agent would load under this name: one that runs is not
    /// loaded again.
    ///
    /// # Errors
    /// If there is none, or the agent would refuse it.
    pub async fn inspect_named(&self, name: &str) -> Result<Inspection, ComponentError> {
        self.inspect_as(&self.find(name).await?, name).await
    }

    async fn inspect_as(&self, path: &Path, name: &str) -> Result<Inspection, ComponentError> {
        let size = path
            .metadata()
            .map_err(|source| ComponentError::Unreadable { path: path.to_owned(), source })?
            .len();
        let transformer = self.open_as::<TransformerRole>(path, name).await;
        let (digest, publisher, code, description) = match transformer {
            Ok(loaded) => {
                let description = self.describe(&loaded, ()).await?;
                (loaded.digest, false, loaded.code().clone(), description)
            }
            // Unless it is a publisher, the error as a transformer is more helpful.
            Err(error) => {
                let publisher = self.open_as::<PublisherRole>(path, name).await;
                let Ok(loaded) = publisher else { return Err(error) };
                let description = self.describe(&loaded, self.no_access(&loaded)).await?;
                (loaded.digest, true, loaded.code().clone(), description)
            }
        };
        let (imports, exports) = (names(&code, true), names(&code, false));
        let producers = producers(&load::read(path)?.0);
        let path = path.to_owned();
        Ok(Inspection { path, size, digest, publisher, imports, exports, description, producers })
    }
}

/// Fields of the producers sections of a file. They are optional, so unreadable ones are skipped.
pub(super) fn producers(bytes: &[u8]) -> Vec<(String, String)> {
    let mut found = BTreeSet::new();
    // Includes nested modules and components.
    for payload in Parser::new(0).parse_all(bytes).map_while(Result::ok) {
        let Payload::CustomSection(section) = payload else { continue };
        if let KnownCustom::Producers(section) = section.as_known() {
            add_producers(section, &mut found);
        }
    }
    found.into_iter().collect()
}

fn add_producers(section: ProducersSectionReader<'_>, found: &mut BTreeSet<(String, String)>) {
    for field in section.into_iter().map_while(Result::ok) {
        for value in field.values.into_iter().map_while(Result::ok) {
            let gap = if value.version.is_empty() { "" } else { " " };
            let value = format!("{}{gap}{}", value.name, value.version);
            found.insert((clean(field.name), clean(&value)));
        }
    }
}

fn names(component: &Component, imports: bool) -> Vec<String> {
    let (ty, engine) = (component.component_type(), component.engine());
    if imports {
        ty.imports(engine).map(|(name, _)| name.to_owned()).collect()
    } else {
        ty.exports(engine).map(|(name, _)| name.to_owned()).collect()
    }
}
