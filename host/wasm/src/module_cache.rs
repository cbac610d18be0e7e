//! The loaded components of one role, by path.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Mutex;
use wasmtime::component::{Component, InstancePre, Linker};

use super::bindings::exports::nephometer::metering::component;
use super::digest::Digest;
use super::error::{ComponentError, invalid};
use super::log::clean;
use super::role::Role;

/// A checked component, ready to be instantiated.
pub struct LoadedComponent<R: Role> {
    /// The name in `pipeline.yaml`, or that of the shadow of one; of a file that is opened by its path,
    /// the file name without its extension.
    pub name: Arc<str>,
    /// The file.
    pub path: PathBuf,
    /// Digest of the file.
    pub digest: Digest,
    pub(crate) pre: InstancePre<R::Data>,
    pub(crate) component: component::GuestIndices,
    pub(crate) exports: R::Exports,
}

impl<R: Role> LoadedComponent<R> {
    /// The compiled code.
    pub(crate) fn code(&self) -> &Component {
        self.pre.component()
    }
}

impl<R: Role> fmt::Debug for LoadedComponent<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoadedComponent({}, {})", self.name, self.digest)
    }
}

/// The components of one role, and the linker with their imports.
pub struct ModuleCache<R: Role> {
    linker: Linker<R::Data>,
    /// The last content of each file. Earlier contents live as long as their instances.
    loaded: Mutex<HashMap<PathBuf, Arc<LoadedComponent<R>>>>,
}

impl<R: Role> ModuleCache<R> {
    pub(crate) fn new(linker: Linker<R::Data>) -> Self {
        Self { linker, loaded: Mutex::default() }
    }

    /// The component loaded from this file under this name, if it had the same content.
    pub(crate) async fn get(
        &self,
        (path, name): (&Path, &str),
        digest: Digest,
    ) -> Option<Arc<LoadedComponent<R>>> {
        let all = self.loaded.lock().await;
        all.get(path).filter(|one| one.digest == digest && *one.name == *name).map(Arc::clone)
    }

    /// Checks the compiled code of a file and caches it. Returns the cached component, and whether
    /// it is new.
    ///
    /// # Errors
    /// If world or imports do not match the role.
    pub(crate) async fn insert(
        &self,
        (path, name): (&Path, &str),
        digest: Digest,
        code: &Component,
    ) -> Result<(Arc<LoadedComponent<R>>, bool), ComponentError> {
        R::check(code).map_err(|reason| invalid(path, reason))?;
        let link = || -> wasmtime::Result<_> {
            let pre = self.linker.instantiate_pre(code)?;
            Ok(LoadedComponent {
                name: Arc::from(name),
                path: path.to_owned(),
                digest,
                component: component::GuestIndices::new(&pre)?,
                exports: R::exports(&pre)?,
                pre,
            })
        };
        let loaded = Arc::new(link().map_err(|error| {
            let error = clean(&format!("{error:#}"));
            invalid(path, format!("does not match the contract: {error}"))
        })?);
        let mut all = self.loaded.lock().await;
        let same =
            |first: &&Arc<LoadedComponent<R>>| first.digest == digest && *first.name == *name;
        if let Some(first) = all.get(path).filter(same) {
            return Ok((Arc::clone(first), false));
        }
        all.insert(path.to_owned(), Arc::clone(&loaded));
        // A name stands for one file: another one of this name is an older version from a registry.
        all.retain(|other, one| other.exists() && (other == path || one.name != loaded.name));
        Ok((loaded, true))
    }
}
