//! The list of domains, for as long as it is known that none has come or gone.

use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

/// The list that was had last. Locked to look or to exchange.
#[derive(Debug, Default)]
pub(super) struct Listing(Mutex<Option<KnownList>>);

#[derive(Debug)]
struct KnownList {
    /// How often domains had come or gone when it was asked for.
    moves: u64,
    domains: Vec<(Uuid, String)>,
}

impl Listing {
    /// The list, if it was asked for after the last move.
    pub(super) fn since(&self, moves: u64) -> Option<Vec<(Uuid, String)>> {
        let listed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        listed.as_ref().filter(|listed| listed.moves == moves).map(|listed| listed.domains.clone())
    }

    /// A list that was asked for after so many moves.
    pub(super) fn put(&self, moves: u64, domains: &[(Uuid, String)]) {
        let mut listed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // One that was asked for later may have come before.
        if listed.as_ref().is_none_or(|known| known.moves <= moves) {
            *listed = Some(KnownList { moves, domains: domains.to_vec() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(number: u128) -> (Uuid, String) {
        (Uuid::from_u128(number), number.to_string())
    }

    // A second poll task, which asked while the first one was being answered, took the list from before
    // and saw the new domain an interval later.
    #[test]
    fn a_list_that_is_still_being_had_is_not_the_one_from_before() {
        let listing = Listing::default();
        listing.put(1, &[domain(1)]);
        assert_eq!(listing.since(1), Some(vec![domain(1)]));
        // A domain starts; the first task asks for the list, and has no answer yet.
        assert_eq!(listing.since(2), None);
        // Another one starts; the second task is answered first.
        listing.put(3, &[domain(1), domain(2), domain(3)]);
        listing.put(2, &[domain(1), domain(2)]);
        assert_eq!(listing.since(3).unwrap().len(), 3);
    }
}
