//! The memory bound on the saved states of all transformers: of running chains, of revisions that
//! are catching up, and of rollback candidates. A state that several chains share counts once.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::State;
use nephometer_model::Bound;

/// Number of other components that a refusal lists, the largest first.
const LISTED: usize = 5;

/// The saved states in memory, and the most bytes that they may have together.
#[derive(Debug)]
pub struct StateBudget {
    most: AtomicU64,
    /// States that may still be in memory, with the name of their component.
    saved: Mutex<Vec<(String, Weak<Vec<u8>>)>>,
}

impl StateBudget {
    /// A budget of `most` bytes.
    pub fn new(most: u64) -> Arc<Self> {
        Arc::new(Self { most: AtomicU64::new(most), saved: Mutex::default() })
    }

    /// Changes the budget to `most` bytes. States that are saved already stay.
    pub fn set(&self, most: u64) {
        self.most.store(most, Relaxed);
    }

    /// Counts states that are in memory already, such as those read from disk.
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

    /// Counts a new state of `component` that replaces one of `own`, the states of its chain.
    ///
    /// Check and count are one step: two chains that saved at once were once both let through. A
    /// state that is not used after all stops counting when it is dropped.
    ///
    /// # Errors
    /// A message if the states would exceed the budget.
    pub(super) fn reserve(
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
        let mut message = format!(
            "{}: {total} {} with the {new} of {component}, at most {most} ({})",
            row.what, row.unit, row.name
        );
        let mut others: Vec<(u64, String)> =
            others.into_iter().map(|(name, bytes)| (bytes, name)).collect();
        others.sort_by(|one, other| other.cmp(one));
        for (index, (bytes, name)) in others.iter().take(LISTED).enumerate() {
            let separator = if index == 0 { "; others: " } else { ", " };
            // Writing to a string cannot fail.
            let _ = write!(message, "{separator}{name} {bytes}");
        }
        Err(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(bytes: usize) -> State {
        State { version: 1, bytes: Arc::new(vec![0; bytes]) }
    }

    /// Whether a state of so many bytes is within the budget.
    fn fits(budget: &StateBudget, component: &str, bytes: usize, own: &[Option<State>]) -> bool {
        budget.reserve(component, &state(bytes), own).is_ok()
    }

    #[test]
    fn a_shared_state_counts_once_and_a_replaced_or_dropped_one_does_not_count() {
        let budget = StateBudget::new(100);
        let (one, other) = (state(60), state(30));
        budget.count([("one", &one), ("other", &other)]);
        budget.count([("one", &one)]);
        assert!(fits(&budget, "new", 10, &[]));
        let refusal = budget.reserve("new", &state(11), &[]).unwrap_err();
        assert_eq!(
            refusal,
            "saved states of all transformers: 101 bytes with the 11 of new, at most 100 \
             (components.totals.states); others: one 60, other 30"
        );
        let own = [Some(one.clone())];
        assert!(fits(&budget, "one", 70, &own));
        assert!(!fits(&budget, "one", 71, &own));
        drop((one, own));
        assert!(fits(&budget, "new", 70, &[]));
        budget.set(20);
        assert!(!fits(&budget, "new", 0, &[]));
    }

    // Of two chains that saved at once, both were let through.
    #[test]
    fn a_state_counts_as_soon_as_it_is_reserved() {
        let budget = StateBudget::new(100);
        let first = state(60);
        budget.reserve("first", &first, &[]).unwrap();
        assert!(!fits(&budget, "second", 41, &[]));
        drop(first);
        assert!(fits(&budget, "second", 41, &[]), "an abandoned save does not count");
    }
}
