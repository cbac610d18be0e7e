//! The list of domains, cached while events show that none was added or removed.

use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

/// The last list. Locked only to read or replace it.
#[derive(Debug, Default)]
pub(super) struct ListCache(Mutex<Option<CachedList>>);

#[derive(Debug)]
struct CachedList {
    /// List revision at the time of the request.
    revision: u64,
    domains: Vec<(Uuid, String)>,
}

impl ListCache {
    /// The list, if it was requested at this revision.
    pub(super) fn get(&self, revision: u64) -> Option<Vec<(Uuid, String)>> {
        let listed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        listed
            .as_ref()
            .filter(|listed| listed.revision == revision)
            .map(|listed| listed.domains.clone())
    }

    /// Stores a list that was requested at this revision.
    pub(super) fn put(&self, revision: u64, domains: &[(Uuid, String)]) {
        let mut listed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A later request may have been answered first.
        if listed.as_ref().is_none_or(|known| known.revision <= revision) {
            *listed = Some(CachedList { revision, domains: domains.to_vec() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(number: u128) -> (Uuid, String) {
        (Uuid::from_u128(number), number.to_string())
    }

    // Once, a second poll task that asked during the request of the first got the old list, and
    // found the new domain an interval later.
    #[test]
    fn list_of_an_older_revision_is_never_returned() {
        let cache = ListCache::default();
        cache.put(1, &[domain(1)]);
        assert_eq!(cache.get(1), Some(vec![domain(1)]));
        // A domain starts; the first task requests the list and has no answer yet.
        assert_eq!(cache.get(2), None);
        // Another one starts; the second task is answered first.
        cache.put(3, &[domain(1), domain(2), domain(3)]);
        cache.put(2, &[domain(1), domain(2)]);
        assert_eq!(cache.get(3).unwrap().len(), 3);
    }
}
