//! What a component is and wants, for people.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use wasmparser::{KnownCustom, Parser, Payload, ProducersSectionReader};
use wasmtime::component::Component;

use super::host::ComponentHost;
use super::load;
use super::log::clean;
use super::publisher::PublisherRole;
use super::transformer::TransformerRole;
use super::{ComponentError, Description, Digest};

/// What is to be known of a component without a place for it.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// The file.
    pub path: PathBuf,
    /// The file's size, bytes.
    pub size: u64,
    /// Of its content.
    pub digest: Digest,
    /// Whether it is a publisher; a transformer otherwise.
    pub publisher: bool,
    /// What it imports, as `package/interface@version`.
    pub imports: Vec<String>,
    /// What it exports, likewise.
    pub exports: Vec<String>,
    /// What it tells about itself.
    pub description: Description,
    /// What its file says of how it was made, such as `language: Rust` and `processed-by: rustc
    /// 1.96.0`, of all that is in it; empty if that was not recorded.
    pub producers: Vec<(String, String)>,
}

impl Inspection {
    /// The version of the contract that it was built with.
    pub fn contract(&self) -> Option<&str> {
        let exports = self.exports.iter().find(|name| name.contains("/component@"));
        exports.and_then(|name| name.split_once('@')).map(|(_, version)| version)
    }

    /// Whether it keeps something between batches.
    pub fn is_stateful(&self) -> bool {
        self.exports.iter().any(|name| name.contains("/stateful@"))
    }

    /// Whether it wants to speak to the network, and over what.
    pub fn reaches(&self) -> Option<&'static str> {
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
    /// Loads a component of either kind, as the agent would, and asks it what it is.
    ///
    /// # Errors
    /// If it is none that the agent would take.
    pub async fn inspect(&self, path: &Path) -> Result<Inspection, ComponentError> {
        let size = path
            .metadata()
            .map_err(|source| ComponentError::Unreadable { path: path.to_owned(), source })?
            .len();
        let (digest, publisher, code, description) = match self.open::<TransformerRole>(path).await
        {
            Ok(loaded) => {
                let description = self.describe(&loaded, ()).await?;
                (loaded.digest, false, loaded.code().clone(), description)
            }
            // What it is not as a transformer says more, unless it is a publisher.
            Err(error) => {
                let Ok(loaded) = self.open::<PublisherRole>(path).await else { return Err(error) };
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

/// What a file says of how it was made. A section that cannot be read says nothing: it is for
/// people, and nobody has to write it.
pub(super) fn producers(bytes: &[u8]) -> Vec<(String, String)> {
    let mut found = BTreeSet::new();
    // What is nested in a component comes along.
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
