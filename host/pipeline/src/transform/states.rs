//! What the saved states of all transformers take together: of running chains, of those that take their
//! place, and of those that may come back. A state that several of them share counts once.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::State;
use nephometer_model::Bound;

/// Components that a refusal names, the largest first.
const NAMED: usize = 5;

/// The sum, and the most that it may be.
#[derive(Debug)]
pub struct StateTotal {
    most: AtomicU64,
    /// Those that may still be in memory, with the component's name.
    saved: Mutex<Vec<(String, Weak<Vec<u8>>)>>,
}

impl StateTotal {
    /// At most so many bytes.
    pub fn new(most: u64) -> Arc<Self> {
        Arc::new(Self { most: AtomicU64::new(most), saved: Mutex::default() })
    }

    /// From now on at most so many bytes; what is saved already stays.
    pub fn set(&self, most: u64) {
        self.most.store(most, Relaxed);
    }

    /// These are in memory for as long as somebody has them.
    pub(super) fn count<'a>(&self, states: impl IntoIterator<Item = (&'a str, &'a State)>) {
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        saved.retain(|(_, bytes)| bytes.strong_count() > 0);
        for (component, state) in states {
            let bytes = Arc::downgrade(&state.bytes);
            if !saved.iter().any(|(_, known)| known.ptr_eq(&bytes)) {
                saved.push((component.to_owned(), bytes));
            }
        }
    }

    /// Counts a new state of `component`, where `own` are the chain's states that it takes the place of,
    /// unless the sum would be too large. At once: two chains that looked first and counted later were
    /// both let through. A state that comes to nothing is not counted any more once it is dropped. The
    /// refusal is in words.
    pub(super) fn add(
        &self,
        component: &str,
        state: &State,
        own: &[Option<State>],
    ) -> Result<(), String> {
        let new = state.bytes.len() as u64;
        let mut others: BTreeMap<String, u64> = BTreeMap::new();
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        saved.retain(|(_, bytes)| bytes.strong_count() > 0);
        for (name, bytes) in saved.iter() {
            let Some(bytes) = bytes.upgrade() else { continue };
            let is_own = |state: &State| Arc::ptr_eq(&state.bytes, &bytes);
            if !own.iter().flatten().any(is_own) {
                *others.entry(name.clone()).or_default() += bytes.len() as u64;
            }
        }
        let total = others.values().sum::<u64>() + new;
        let most = self.most.load(Relaxed);
        if total <= most {
            saved.push((component.to_owned(), Arc::downgrade(&state.bytes)));
            return Ok(());
        }
        drop(saved);
        let row = Bound::TotalStates.row();
        let mut words = format!(
            "{}: {total} {} with the {new} of {component}, at most {most} ({})",
            row.what, row.unit, row.name
        );
        let mut others: Vec<(u64, String)> =
            others.into_iter().map(|(name, of)| (of, name)).collect();
        others.sort_by(|one, other| other.cmp(one));
        for (place, (bytes, name)) in others.iter().take(NAMED).enumerate() {
            let before = if place == 0 { "; others: " } else { ", " };
            // Writing to a string cannot fail.
            let _ = write!(words, "{before}{name} {bytes}");
        }
        Err(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(bytes: usize) -> State {
        State { version: 1, bytes: Arc::new(vec![0; bytes]) }
    }

    /// Whether a state of so many bytes would be counted.
    fn fits(total: &StateTotal, component: &str, bytes: usize, own: &[Option<State>]) -> bool {
        total.add(component, &state(bytes), own).is_ok()
    }

    #[test]
    fn what_is_shared_or_replaced_or_let_go_counts_once_or_not() {
        let total = StateTotal::new(100);
        let (one, other) = (state(60), state(30));
        total.count([("one", &one), ("other", &other)]);
        total.count([("one", &one)]);
        assert!(fits(&total, "new", 10, &[]));
        let refusal = total.add("new", &state(11), &[]).unwrap_err();
        assert_eq!(
            refusal,
            "saved states of all transformers: 101 bytes with the 11 of new, at most 100 \
             (components.totals.states); others: one 60, other 30"
        );
        let own = [Some(one.clone())];
        assert!(fits(&total, "one", 70, &own));
        assert!(!fits(&total, "one", 71, &own));
        drop((one, own));
        assert!(fits(&total, "new", 70, &[]));
        total.set(20);
        assert!(!fits(&total, "new", 0, &[]));
    }

    // Of two chains that saved at once, both were let through.
    #[test]
    fn a_state_counts_from_when_it_was_let_through() {
        let total = StateTotal::new(100);
        let first = state(60);
        total.add("first", &first, &[]).unwrap();
        assert!(!fits(&total, "second", 41, &[]));
        drop(first);
        assert!(fits(&total, "second", 41, &[]), "a save that was given up");
    }
}
