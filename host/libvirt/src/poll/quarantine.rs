//! Domains that do not answer are left alone, so that they cost the others nothing.

use std::collections::HashMap;

use uuid::Uuid;

/// The domains that are left alone, and since when.
#[derive(Debug, Default)]
pub(super) struct Quarantine {
    cases: HashMap<Uuid, Case>,
}

#[derive(Debug, Clone, Copy)]
struct Case {
    /// How often a probe has failed in a row.
    failed: u32,
    /// Ticks until the next probe.
    wait: u32,
}

/// The longest pause between two probes, in ticks.
const MAX_WAIT: u32 = 8;

impl Quarantine {
    /// Takes a domain in; `true` if it was not in before.
    pub(super) fn admit(&mut self, uuid: Uuid) -> bool {
        self.cases.insert(uuid, Case { failed: 0, wait: 0 }).is_none()
    }

    /// Whether a domain is left alone.
    pub(super) fn holds(&self, uuid: Uuid) -> bool {
        self.cases.contains_key(&uuid)
    }

    /// The domains whose probe is due; called once a tick.
    pub(super) fn due(&mut self) -> Vec<Uuid> {
        let mut due = Vec::new();
        for (uuid, case) in &mut self.cases {
            match case.wait.checked_sub(1) {
                Some(less) => case.wait = less,
                None => due.push(*uuid),
            }
        }
        due
    }

    /// What the probe of a domain said: released, or the next probe comes twice as late.
    pub(super) fn probed(&mut self, uuid: Uuid, answers: bool) {
        if answers {
            self.cases.remove(&uuid);
        } else if let Some(case) = self.cases.get_mut(&uuid) {
            case.failed += 1;
            case.wait = 2u32.saturating_pow(case.failed).min(MAX_WAIT) - 1;
        }
    }

    /// Forgets domains that are not there any more.
    pub(super) fn retain(&mut self, there: impl Fn(Uuid) -> bool) {
        self.cases.retain(|uuid, _| there(*uuid));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_ever_more_rarely_and_releases() {
        let uuid = Uuid::from_u128(1);
        let mut quarantine = Quarantine::default();
        assert!(quarantine.admit(uuid));
        assert!(!quarantine.admit(uuid));
        let mut pauses = Vec::new();
        for _ in 0..5 {
            let mut pause = 0;
            while quarantine.due().is_empty() {
                pause += 1;
            }
            pauses.push(pause);
            quarantine.probed(uuid, false);
        }
        assert_eq!(pauses, [0, 1, 3, 7, 7]);
        assert!(quarantine.holds(uuid));
        quarantine.probed(uuid, true);
        assert!(!quarantine.holds(uuid));
    }
}
