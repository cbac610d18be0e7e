//! Compares the running configuration with a new one: what changes, and what requires a restart.

use std::collections::HashSet;
use std::sync::Arc;

use super::factory::TransformerKey;
use nephometer_config::{AgentSpec, LibvirtSpec};
use nephometer_pipeline::transform::Identity;

/// The changed keys that take effect only after a restart.
pub(super) fn needs_restart(old: &AgentSpec, new: &AgentSpec) -> Vec<&'static str> {
    // The deadline follows the shortest interval, which may change.
    let follows = old.pipeline.sources != new.pipeline.sources;
    let deadline = if follows { old.libvirt.deadline } else { new.libvirt.deadline };
    let libvirt = LibvirtSpec { deadline, ..new.libvirt.clone() };
    let differs = [
        ("host", old.host != new.host),
        ("compatibility", old.metering != new.metering),
        ("mode", old.mode != new.mode),
        ("polling.spread", old.spread != new.spread),
        ("libvirt", old.libvirt != libvirt),
        ("amqp.url", old.amqp != new.amqp),
        ("message", old.message != new.message),
        ("components.path", old.components.path != new.components.path),
        ("store", old.store != new.store),
        ("cache", old.cache != new.cache),
        ("control", old.control != new.control),
        ("prometheus", old.prometheus != new.prometheus),
        ("telemetry", old.telemetry != new.telemetry),
        ("shutdown_grace", old.shutdown_grace != new.shutdown_grace),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
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
