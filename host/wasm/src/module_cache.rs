//! Components that have been loaded, by the file that they came from.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Mutex;
use wasmtime::component::{Component, InstancePre, Linker};

use super::bindings::exports::nephometer::metering::component;
use super::digest::Digest;
use super::error::{ComponentError, unfit};
use super::log::clean;
use super::role::Role;

/// A component that fits this host, ready to be instantiated.
pub struct Loaded<R: Role> {
    /// The name in `pipeline.yaml`: the file's name without its ending.
    pub name: Arc<str>,
    /// The file.
    pub path: PathBuf,
    /// Of the file's content.
    pub digest: Digest,
    pub(crate) pre: InstancePre<R::Data>,
    pub(crate) component: component::GuestIndices,
    pub(crate) exports: R::Exports,
}

impl<R: Role> Loaded<R> {
    /// The code.
    pub(crate) fn code(&self) -> &Component {
        self.pre.component()
    }
}

impl<R: Role> fmt::Debug for Loaded<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Loaded({}, {})", self.name, self.digest)
    }
}

/// The components of one role, and what they may import.
pub struct ModuleCache<R: Role> {
    linker: Linker<R::Data>,
    /// The last content of each file. What it was before is kept by those who still run it, and
    /// goes with them.
    loaded: Mutex<HashMap<PathBuf, Arc<Loaded<R>>>>,
}

impl<R: Role> ModuleCache<R> {
    pub(crate) fn new(linker: Linker<R::Data>) -> Self {
        Self { linker, loaded: Mutex::default() }
    }

    /// What was loaded from this file, if its content is still the same.
    pub(crate) async fn last(&self, path: &Path, digest: Digest) -> Option<Arc<Loaded<R>>> {
        let all = self.loaded.lock().await;
        all.get(path).filter(|loaded| loaded.digest == digest).map(Arc::clone)
    }

    /// Checks what was compiled of a file, and remembers it. Gives what is remembered, and whether
    /// it is new.
    pub(crate) async fn keep(
        &self,
        path: &Path,
        digest: Digest,
        code: &Component,
    ) -> Result<(Arc<Loaded<R>>, bool), ComponentError> {
        R::check(code).map_err(|reason| unfit(path, reason))?;
        let name = path.file_stem().map_or("component".into(), |stem| stem.to_string_lossy());
        let linked = || -> wasmtime::Result<_> {
            let pre = self.linker.instantiate_pre(code)?;
            Ok(Loaded {
                name: Arc::from(&*name),
                path: path.to_owned(),
                digest,
                component: component::GuestIndices::new(&pre)?,
                exports: R::exports(&pre)?,
                pre,
            })
        };
        let loaded = Arc::new(linked().map_err(|error| {
            let error = clean(&format!("{error:#}"));
            unfit(path, format!("it does not fit the contract: {error}"))
        })?);
        let mut all = self.loaded.lock().await;
        if let Some(first) = all.get(path).filter(|first| first.digest == digest) {
            return Ok((Arc::clone(first), false));
        }
        all.insert(path.to_owned(), Arc::clone(&loaded));
        all.retain(|path, _| path.exists());
        Ok((loaded, true))
    }
}
