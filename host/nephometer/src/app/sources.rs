//! Relations of a configuration: the sources of a sink, the files that an agent depends on.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::watch::WatchedPaths;
use nephometer_config::{AgentSpec, ShadowSource, SinkSpec};

/// The names of the sources that feed a sink.
pub(super) fn sources_of(spec: &AgentSpec, sink: &SinkSpec) -> HashSet<Arc<str>> {
    let sources = spec.pipeline.sources.iter();
    let feeding = sources.filter(|source| source.sinks.contains(&sink.name));
    feeding.map(|source| Arc::clone(&source.name)).collect()
}

/// The component folders, and the files with configuration, secrets and certificates, whose changes
/// cause a reload.
pub(super) fn watched_paths(spec: &AgentSpec, files: &[PathBuf]) -> WatchedPaths {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let shadows =
        spec.components.by_name.values().filter_map(|one| match &one.shadow.as_ref()?.source {
            ShadowSource::File(path) => Some(path),
            ShadowSource::Registry(_) => None,
        });
    WatchedPaths {
        folders: spec.components.path.iter().map(|path| absolute(path)).collect(),
        files: files
            .iter()
            .chain(&spec.secret_files)
            .chain(shadows)
            .map(|path| absolute(path))
            .collect(),
    }
}
