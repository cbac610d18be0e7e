use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use crate::libvirt::describe;
use nephometer_model::{Domain, Moment};
use nephometer_telemetry::events::hypervisor as events;

/// How long a description is taken for true. What changes without a trace in the statistics, such
/// as the owner, is seen after this time.
const MAX_AGE: Duration = Duration::from_secs(600);

/// The descriptions of domains, by uuid.
#[derive(Debug, Default)]
pub(super) struct Descriptions(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    by_uuid: HashMap<Uuid, Entry>,
    /// Domains whose description could not be read; named once.
    unreadable: HashSet<Uuid>,
}

#[derive(Debug)]
struct Entry {
    domain: Arc<Domain>,
    /// Whether it must be read again, however young.
    stale: bool,
    read: Option<u64>,
}

impl Descriptions {
    /// Those of `listed` that have to be read. Domains that are not listed are forgotten.
    pub(super) fn outdated(&self, listed: &[(Uuid, String)], now: Moment) -> Vec<(Uuid, String)> {
        let known = &mut *self.lock();
        let present: HashSet<Uuid> = listed.iter().map(|(uuid, _)| *uuid).collect();
        known.by_uuid.retain(|uuid, _| present.contains(uuid));
        known.unreadable.retain(|uuid| present.contains(uuid));
        let fresh = |uuid| known.by_uuid.get(uuid).is_some_and(|entry| entry.is_fresh(now));
        listed.iter().filter(|(uuid, _)| !fresh(uuid)).cloned().collect()
    }

    /// Takes the XML of a domain. A description that says the same as before stays the same
    /// object. One that cannot be read is dropped, and the domain named.
    pub(super) fn take(&self, uuid: Uuid, xml: &str, now: Moment) {
        match describe(xml) {
            Ok(domain) => {
                let known = &mut *self.lock();
                known.unreadable.remove(&uuid);
                let old = known.by_uuid.remove(&uuid).map(|entry| entry.domain);
                let domain = match old {
                    Some(old) if *old == domain => old,
                    _ => Arc::new(domain),
                };
                let entry = Entry { domain, stale: false, read: now.monotonic };
                known.by_uuid.insert(uuid, entry);
            }
            Err(error) => self.fail(uuid, &uuid.to_string(), &error),
        }
    }

    /// The description of a domain could not be read.
    pub(super) fn fail(&self, uuid: Uuid, name: &str, reason: &dyn std::error::Error) {
        let known = &mut *self.lock();
        known.by_uuid.remove(&uuid);
        if known.unreadable.insert(uuid) {
            events::domain_unreadable(name, reason);
        }
    }

    /// Those of `listed` that are known, in that order.
    pub(super) fn known(&self, listed: &[(Uuid, String)]) -> Vec<Arc<Domain>> {
        let known = &*self.lock();
        let one = |uuid| known.by_uuid.get(uuid).map(|entry| Arc::clone(&entry.domain));
        listed.iter().filter_map(|(uuid, _)| one(uuid)).collect()
    }

    /// The description is out of date: it is read again at the next listing.
    pub(super) fn forget(&self, uuid: Uuid) {
        if let Some(entry) = self.lock().by_uuid.get_mut(&uuid) {
            entry.stale = true;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn is_fresh(&self, now: Moment) -> bool {
        let age = now.monotonic.zip(self.read).map(|(now, read)| now.saturating_sub(read));
        !self.stale && age.is_some_and(|age| u128::from(age) < MAX_AGE.as_nanos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn xml(uuid: Uuid, name: &str) -> String {
        format!("<domain><name>{name}</name><uuid>{uuid}</uuid></domain>")
    }

    fn at(seconds: u64) -> Moment {
        Moment { monotonic: Some(seconds * 1_000_000_000), ..Moment::default() }
    }

    #[test]
    fn each_domain_is_read_once_until_it_is_old_forgotten_or_was_away() {
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let listed = [(a, "a".to_owned()), (b, "b".to_owned())];
        let descriptions = Descriptions::default();
        assert_eq!(descriptions.outdated(&listed, at(0)), listed);
        descriptions.take(a, &xml(a, "a"), at(0));
        descriptions.take(b, &xml(b, "b"), at(300));
        assert!(descriptions.outdated(&listed, at(599)).is_empty());
        assert_eq!(descriptions.outdated(&listed, at(600)), listed[..1]);
        let first = descriptions.known(&listed);
        descriptions.take(a, &xml(a, "a"), at(600));
        assert!(Arc::ptr_eq(&first[0], &descriptions.known(&listed)[0]), "nothing changed");
        descriptions.forget(a);
        assert_eq!(descriptions.outdated(&listed, at(601)), listed[..1]);
        descriptions.take(a, &xml(a, "renamed"), at(602));
        assert_eq!(descriptions.known(&listed)[0].name, "renamed");
        assert!(descriptions.outdated(&listed[..1], at(603)).is_empty());
        assert_eq!(descriptions.outdated(&listed, at(604)), listed[1..], "b was away");
    }

    #[test]
    fn a_bomb_costs_its_own_domain_only() {
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let listed = [(a, "a".to_owned()), (b, "b".to_owned())];
        let descriptions = Descriptions::default();
        let attributes: String = (0..100_000).map(|number| format!(" a{number}=''")).collect();
        let bomb = xml(a, "a").replace("<domain>", &format!("<domain{attributes}>"));
        descriptions.take(a, &bomb, at(0));
        descriptions.take(b, &xml(b, "b"), at(0));
        let known = descriptions.known(&listed);
        assert_eq!(known.iter().map(|domain| &*domain.name).collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        let a = Uuid::from_u128(1);
        let listed = [(a, "a".to_owned())];
        let descriptions = Descriptions::default();
        descriptions.take(a, &xml(a, "a"), at(0));
        descriptions.take(a, "<domain/>", at(1));
        assert!(descriptions.known(&listed).is_empty());
        assert_eq!(descriptions.outdated(&listed, at(2)), listed);
    }
}
