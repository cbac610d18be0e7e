//! Domains that do not answer. They are not read until a probe succeeds, so that they cost the
//! other domains nothing; probes become rarer while they fail.

use std::collections::HashMap;

use uuid::Uuid;

/// The quarantined domains.
#[derive(Debug, Default)]
pub(super) struct Quarantine {
    domains: HashMap<Uuid, QuarantineEntry>,
}

#[derive(Debug, Clone, Copy)]
struct QuarantineEntry {
    /// Failed probes in a row.
    failed_probes: u32,
    /// Cycles until the next probe.
    cycles_to_wait: u32,
}

/// Longest pause between two probes, in polling cycles.
const MAX_PROBE_PAUSE: u32 = 8;

impl Quarantine {
    /// Adds a domain. Returns `false` if it was quarantined already.
    pub(super) fn admit(&mut self, uuid: Uuid) -> bool {
        let entry = QuarantineEntry { failed_probes: 0, cycles_to_wait: 0 };
        self.domains.insert(uuid, entry).is_none()
    }

    pub(super) fn contains(&self, uuid: Uuid) -> bool {
        self.domains.contains_key(&uuid)
    }

    /// Returns the domains to probe now. Counts a cycle, so call it once per cycle.
    pub(super) fn due_for_probe(&mut self) -> Vec<Uuid> {
        let mut due = Vec::new();
        for (uuid, entry) in &mut self.domains {
            match entry.cycles_to_wait.checked_sub(1) {
                Some(left) => entry.cycles_to_wait = left,
                None => due.push(*uuid),
            }
        }
        due
    }

    /// Records the result of a probe: releases the domain if it responds, doubles the pause if not.
    pub(super) fn record_probe(&mut self, uuid: Uuid, responds: bool) {
        if responds {
            self.domains.remove(&uuid);
        } else if let Some(entry) = self.domains.get_mut(&uuid) {
            entry.failed_probes += 1;
            let pause = 2u32.saturating_pow(entry.failed_probes).min(MAX_PROBE_PAUSE);
            entry.cycles_to_wait = pause - 1;
        }
    }

    /// Forgets domains that no longer exist.
    pub(super) fn retain(&mut self, exists: impl Fn(Uuid) -> bool) {
        self.domains.retain(|uuid, _| exists(*uuid));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_become_rarer_until_one_succeeds() {
        let uuid = Uuid::from_u128(1);
        let mut quarantine = Quarantine::default();
        assert!(quarantine.admit(uuid));
        assert!(!quarantine.admit(uuid));
        let mut pauses = Vec::new();
        for _ in 0..5 {
            let mut pause = 0;
            while quarantine.due_for_probe().is_empty() {
                pause += 1;
            }
            pauses.push(pause);
            quarantine.record_probe(uuid, false);
        }
        assert_eq!(pauses, [0, 1, 3, 7, 7]);
        assert!(quarantine.contains(uuid));
        quarantine.record_probe(uuid, true);
        assert!(!quarantine.contains(uuid));
    }
}
