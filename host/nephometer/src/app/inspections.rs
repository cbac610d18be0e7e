//! What the running components require and offer, kept for a plan: the file of a component may be
//! replaced before a plan is requested.

use std::collections::HashMap;

use super::factory::TransformerKey;
use nephometer_config::ComponentSpec;
use nephometer_wasm::{ComponentHost, Inspection};

/// The running components by digest.
#[derive(Default)]
pub(super) struct Inspections(HashMap<[u8; 32], Inspection>);

impl Inspections {
    /// Remembers the components of these transformers, and forgets all others.
    pub(super) async fn remember<'a>(
        &mut self,
        host: &ComponentHost,
        running: impl Iterator<Item = &'a TransformerKey>,
    ) {
        let mut known = std::mem::take(&mut self.0);
        for key in running {
            let digest = key.identity.digest;
            if self.0.contains_key(&digest) {
                continue;
            }
            let inspection = match known.remove(&digest) {
                Some(inspection) => Some(inspection),
                None => host.inspect_named(&key.identity.component).await.ok(),
            };
            // A file that was replaced since has another digest: without it a plan shows less.
            if let Some(found) = inspection.filter(|found| *found.digest.as_bytes() == digest) {
                self.0.insert(digest, found);
            }
        }
    }

    /// What differs for a transformer that is replaced, one line each. `host` has the new settings.
    pub(super) async fn differences(
        &self,
        host: &ComponentHost,
        old: &TransformerKey,
        new: &TransformerKey,
    ) -> Vec<String> {
        let mut lines = settings(&old.spec, &new.spec);
        if old.identity.digest != new.identity.digest
            && let Some(before) = self.0.get(&old.identity.digest)
            && let Ok(after) = host.inspect_named(&new.identity.component).await
        {
            lines.extend(before.differences(&after));
        }
        lines
    }
}

/// Limits, grants and failure actions that differ.
fn settings(old: &ComponentSpec, new: &ComponentSpec) -> Vec<String> {
    let connect = |spec: &ComponentSpec| {
        let grants: Vec<String> = spec.connect.iter().map(ToString::to_string).collect();
        format!("[{}]", grants.join(", "))
    };
    let time = |time: std::time::Duration| format!("{} s", time.as_secs_f64());
    let each = |spec: &ComponentSpec| {
        let from = spec.from.as_ref().map_or("none".to_owned(), |from| from.reference.to_string());
        [
            ("from", from),
            ("limits.memory", format!("{} bytes", spec.limits.memory)),
            ("limits.cpu", time(spec.limits.cpu)),
            ("limits.wall", time(spec.limits.wall)),
            ("limits.returned", format!("{} bytes", spec.limits.returned)),
            ("grants.connect", connect(spec)),
            ("grants.service_credentials", spec.cloud.is_some().to_string()),
            ("on_error", spec.on_error.as_str().to_owned()),
        ]
    };
    let both = each(old).into_iter().zip(each(new));
    let changed = both.filter(|(old, new)| old != new);
    changed.map(|((key, old), (_, new))| format!("{key}: {old} -> {new}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nephometer_config::LimitsSpec;

    #[test]
    fn settings_that_differ_are_listed_with_their_keys() {
        let old = ComponentSpec::default();
        let limits = LimitsSpec { memory: 1 << 20, ..LimitsSpec::default() };
        let new = ComponentSpec { limits, ..ComponentSpec::default() };
        assert_eq!(settings(&old, &new), ["limits.memory: 268435456 bytes -> 1048576 bytes"]);
        assert!(settings(&old, &old).is_empty());
    }
}
