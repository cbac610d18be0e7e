//! Which sources are for which sink, and which files an agent depends on.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use nephometer_config::{AgentSpec, SinkSpec};

/// The names of the sources that a sink is for.
pub(super) fn sources_of(spec: &AgentSpec, sink: &SinkSpec) -> HashSet<Arc<str>> {
    let sources = spec.pipeline.sources.iter();
    let wanting = sources.filter(|source| source.sinks.contains(&sink.name));
    wanting.map(|source| Arc::clone(&source.name)).collect()
}

/// Where the agent's own files are that it reads again.
pub(super) fn watched(spec: &AgentSpec, files: &[std::path::PathBuf]) -> crate::watch::Watched {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    crate::watch::Watched {
        folders: spec.components.path.iter().map(|path| absolute(path)).collect(),
        files: files.iter().map(|path| absolute(path)).collect(),
    }
}
