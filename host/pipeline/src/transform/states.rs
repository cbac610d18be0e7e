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

    /// Whether `component` may have a state of `new` bytes, where `own` are the chain's states that it
    /// takes the place of, and `beside` bytes were saved with it. The refusal is in words.
    pub(super) fn check(
        &self,
        component: &str,
        new: u64,
        own: &[Option<State>],
        beside: u64,
    ) -> Result<(), String> {
        let mut others: BTreeMap<String, u64> = BTreeMap::new();
        let saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, bytes) in saved.iter() {
            let Some(bytes) = bytes.upgrade() else { continue };
            let is_own = |state: &State| Arc::ptr_eq(&state.bytes, &bytes);
            if !own.iter().flatten().any(is_own) {
                *others.entry(name.clone()).or_default() += bytes.len() as u64;
            }
        }
        drop(saved);
        let total = others.values().sum::<u64>() + beside + new;
        let most = self.most.load(Relaxed);
        if total <= most {
            return Ok(());
        }
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

    #[test]
    fn what_is_shared_or_replaced_or_let_go_counts_once_or_not() {
        let total = StateTotal::new(100);
        let (one, other) = (state(60), state(30));
        total.count([("one", &one), ("other", &other)]);
        total.count([("one", &one)]);
        assert_eq!(total.check("new", 10, &[], 0), Ok(()));
        let refusal = total.check("new", 11, &[], 0).unwrap_err();
        assert_eq!(
            refusal,
            "saved states of all transformers: 101 bytes with the 11 of new, at most 100 \
             (components.totals.states); others: one 60, other 30"
        );
        assert!(total.check("new", 10, &[], 1).is_err());
        let own = [Some(one.clone())];
        assert_eq!(total.check("one", 70, &own, 0), Ok(()));
        assert!(total.check("one", 71, &own, 0).is_err());
        drop((one, own));
        assert_eq!(total.check("new", 70, &[], 0), Ok(()));
        total.set(20);
        assert!(total.check("new", 0, &[], 0).is_err());
    }
}
