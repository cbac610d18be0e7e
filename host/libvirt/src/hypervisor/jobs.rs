//! Which domains may have a migration under way, by what each reading has anyway.

use nephometer_model::{DomainState, RawNumber, Reading, Volume};

/// `VIR_DOMAIN_RUNNING_POSTCOPY` and `VIR_DOMAIN_RUNNING_POSTCOPY_FAILED`
const RUNNING: [i128; 2] = [10, 11];
/// `VIR_DOMAIN_PAUSED_MIGRATION`, `VIR_DOMAIN_PAUSED_POSTCOPY` and
/// `VIR_DOMAIN_PAUSED_POSTCOPY_FAILED`
const PAUSED: [i128; 3] = [2, 12, 13];

/// Whether the state of a domain shows a migration. While memory is copied the source just runs: only
/// events show that.
pub(super) fn may_migrate(reading: &Reading) -> bool {
    let reason = |number: &&RawNumber| number.key == "state.reason";
    let Some(reason) = reading.raw.iter().find(reason) else { return false };
    let Volume::Integer(reason) = reason.value else { return false };
    match reading.state {
        Some(DomainState::Running) => RUNNING.contains(&reason),
        Some(DomainState::Paused) => PAUSED.contains(&reason),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::libvirt::{ReadingBuilder, StatValue};

    #[test]
    fn the_reason_of_a_state_shows_a_migration() {
        for (state, reason, expected) in [
            (1, 1, false),
            (1, 5, false),
            (1, 10, true),
            (3, 1, false),
            (3, 2, true),
            (3, 12, true),
            (5, 2, false),
        ] {
            let mut builder = ReadingBuilder::new(true);
            builder.add("state.state", StatValue::Signed(state)).unwrap();
            builder.add("state.reason", StatValue::Signed(reason)).unwrap();
            assert_eq!(may_migrate(&builder.finish()), expected, "{state} {reason}");
        }
        assert!(!may_migrate(&Reading::default()));
    }
}
