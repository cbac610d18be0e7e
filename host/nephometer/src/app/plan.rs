//! Compares the running configuration with a new one: what changes, and what requires a restart.

use std::collections::HashSet;
use std::sync::Arc;

use super::factory::TransformerKey;
use super::rotation;
use nephometer_config::{AgentSpec, DiscoverySpec, LibvirtSpec};
use nephometer_pipeline::transform::Identity;

/// The changed keys that take effect only after a restart, and why.
pub(super) fn needs_restart(old: &AgentSpec, new: &AgentSpec) -> Vec<(&'static str, &'static str)> {
    // The deadline follows the shortest interval, which may change.
    let follows = old.pipeline.sources != new.pipeline.sources;
    let deadline = if follows { old.libvirt.deadline } else { new.libvirt.deadline };
    let libvirt = LibvirtSpec { deadline, ..new.libvirt.clone() };
    let (meters, connection) = ("samples of one run have one form", "it is opened at the start");
    let listeners = "listeners are opened at the start";
    // Credentials of another kind of discovery would be credentials without use.
    let discovery = DiscoverySpec { nova: new.discovery.nova.clone(), ..old.discovery.clone() };
    let changed_source = old.message.sample_source != new.message.sample_source;
    let differs = [
        ("host", old.host != new.host, "it is part of the ids of samples"),
        ("compatibility", old.metering != new.metering, meters),
        ("mode", old.mode != new.mode, meters),
        ("polling.spread", old.spread != new.spread, "polling tasks keep their offset"),
        ("libvirt", old.libvirt != libvirt, connection),
        ("discovery", discovery != new.discovery, "polling tasks and Nova's client keep theirs"),
        ("message.sample_source", changed_source, meters),
        (
            "components.path",
            old.components.path != new.components.path,
            "components are searched in the folders of the start",
        ),
        ("store", old.store != new.store, connection),
        ("cache", old.cache != new.cache, connection),
        ("control", old.control != new.control, "the socket is opened at the start"),
        ("prometheus", rotation::other_scrapes(old, new), listeners),
        ("telemetry", rotation::other_listener(&old.telemetry, &new.telemetry), listeners),
        ("shutdown_grace", old.shutdown_grace != new.shutdown_grace, "it is read at the start"),
    ];
    differs.into_iter().filter(|one| one.1).map(|(key, _, reason)| (key, reason)).collect()
}

/// The sinks that only one of the two configurations has, one line each.
pub(super) fn added_or_removed_sinks(old: &AgentSpec, new: &AgentSpec) -> Vec<String> {
    let names = |spec: &AgentSpec| -> HashSet<Arc<str>> {
        spec.pipeline.sinks.iter().map(|sink| Arc::clone(&sink.name)).collect()
    };
    let (before, after) = (names(old), names(new));
    let mut lines: Vec<String> = after
        .difference(&before)
        .map(|name| format!("sink {name} is new"))
        .chain(before.difference(&after).map(|name| format!("sink {name} is removed")))
        .collect();
    lines.sort();
    lines
}

/// What changes for each transformer of a sink, one line each.
pub(super) fn transformer_changes(
    sink: &str,
    old: &[Identity],
    new: &[TransformerKey],
) -> Vec<String> {
    let mut unmatched: Vec<&Identity> = old.iter().collect();
    let mut lines = Vec::new();
    for key in new {
        let name = &key.identity.component;
        let same = unmatched.iter().position(|identity| identity.component == *name);
        let change = match same.map(|same| unmatched.remove(same)) {
            None => "new, starts without state".to_owned(),
            Some(before) if *before == key.identity => "unchanged, state kept".to_owned(),
            Some(before) if before.digest == key.identity.digest => {
                "options changed, state kept".to_owned()
            }
            Some(before) => {
                format!(
                    "{} -> {}, state kept",
                    short_digest(&before.digest),
                    short_digest(&key.identity.digest)
                )
            }
        };
        lines.push(format!("sink {sink}: {name}: {change}"));
    }
    lines.extend(
        unmatched
            .iter()
            .map(|one| format!("sink {sink}: {}: removed, with its state", one.component)),
    );
    lines
}

/// The first 12 hex digits of a digest, which distinguish two builds.
pub(super) fn short_digest(digest: &[u8; 32]) -> String {
    hex::encode(&digest[..6])
}

#[cfg(test)]
mod tests {
    use super::*;
    use nephometer_config::ComponentSpec;

    fn identity(component: &str, digest: u8, options: &str) -> Identity {
        let (component, options) = (component.into(), options.to_owned());
        Identity { component, digest: [digest; 32], options }
    }

    #[test]
    fn every_transformer_has_one_line() {
        let old = [identity("a", 1, "{}"), identity("b", 2, "{}"), identity("c", 3, "{}")];
        let new = [identity("b", 2, "{\"x\":1}"), identity("a", 9, "{}"), identity("d", 4, "{}")];
        let new = new.map(|identity| TransformerKey { identity, spec: ComponentSpec::default() });
        assert_eq!(
            transformer_changes("s", &old, &new),
            [
                "sink s: b: options changed, state kept",
                "sink s: a: 010101010101 -> 090909090909, state kept",
                "sink s: d: new, starts without state",
                "sink s: c: removed, with its state",
            ]
        );
    }
}
