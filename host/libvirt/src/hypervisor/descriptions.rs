//! The descriptions of domains, cached: reading and parsing XML in each cycle would be too slow.
//!
//! Owns which description is out of date, and which cannot be read.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use crate::libvirt::describe;
use nephometer_model::{Domain, Moment};
use nephometer_telemetry::events::hypervisor as events;

/// Age at which a description is read again. Changes that leave no trace in the statistics, such as
/// of the owner, are noticed after this time at the latest.
const MAX_AGE: Duration = Duration::from_secs(600);

/// The descriptions of domains, by uuid.
#[derive(Debug, Default)]
pub(super) struct Descriptions(Mutex<DescriptionMap>);

#[derive(Debug, Default)]
struct DescriptionMap {
    by_uuid: HashMap<Uuid, CachedDescription>,
    /// Domains whose description could not be read. Each is logged once.
    unreadable: HashSet<Uuid>,
}

#[derive(Debug)]
struct CachedDescription {
    domain: Arc<Domain>,
    /// Whether it must be read again whatever its age.
    stale: bool,
    /// Monotonic time, ns.
    read_at: Option<u64>,
}

impl Descriptions {
    /// The listed domains whose description must be read. Forgets domains that are not listed.
    pub(super) fn outdated(&self, listed: &[(Uuid, String)], now: Moment) -> Vec<(Uuid, String)> {
        let map = &mut *self.lock();
        let present: HashSet<Uuid> = listed.iter().map(|(uuid, _)| *uuid).collect();
        map.by_uuid.retain(|uuid, _| present.contains(uuid));
        map.unreadable.retain(|uuid| present.contains(uuid));
        let fresh = |uuid| map.by_uuid.get(uuid).is_some_and(|entry| entry.is_fresh(now));
        listed.iter().filter(|(uuid, _)| !fresh(uuid)).cloned().collect()
    }

    /// Parses and stores the XML of a domain. An unchanged description keeps its object. If the XML
    /// cannot be parsed, the old description is dropped and the domain is logged.
    pub(super) fn update(&self, uuid: Uuid, xml: &str, now: Moment) {
        match describe(xml) {
            Ok(domain) => {
                let map = &mut *self.lock();
                map.unreadable.remove(&uuid);
                let old = map.by_uuid.remove(&uuid).map(|entry| entry.domain);
                let domain = match old {
                    Some(old) if *old == domain => old,
                    _ => Arc::new(domain),
                };
                let entry = CachedDescription { domain, stale: false, read_at: now.monotonic };
                map.by_uuid.insert(uuid, entry);
            }
            Err(error) => self.record_failure(uuid, &uuid.to_string(), &error),
        }
    }

    /// Drops the description of a domain that could not be read.
    pub(super) fn record_failure(&self, uuid: Uuid, name: &str, reason: &dyn std::error::Error) {
        let map = &mut *self.lock();
        map.by_uuid.remove(&uuid);
        if map.unreadable.insert(uuid) {
            events::domain_unreadable(name, reason);
        }
    }

    /// The descriptions of the listed domains, in that order; domains without one are omitted.
    pub(super) fn lookup(&self, listed: &[(Uuid, String)]) -> Vec<Arc<Domain>> {
        let map = &*self.lock();
        let one = |uuid| map.by_uuid.get(uuid).map(|entry| Arc::clone(&entry.domain));
        listed.iter().filter_map(|(uuid, _)| one(uuid)).collect()
    }

    /// Marks a description as out of date. It is read again with the next list.
    pub(super) fn mark_stale(&self, uuid: Uuid) {
        if let Some(entry) = self.lock().by_uuid.get_mut(&uuid) {
            entry.stale = true;
        }
    }

    fn lock(&self) -> MutexGuard<'_, DescriptionMap> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CachedDescription {
    fn is_fresh(&self, now: Moment) -> bool {
        let age = now.monotonic.zip(self.read_at).map(|(now, read_at)| now.saturating_sub(read_at));
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
    fn description_is_cached_until_it_is_old_stale_or_unlisted() {
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let listed = [(a, "a".to_owned()), (b, "b".to_owned())];
        let descriptions = Descriptions::default();
        assert_eq!(descriptions.outdated(&listed, at(0)), listed);
        descriptions.update(a, &xml(a, "a"), at(0));
        descriptions.update(b, &xml(b, "b"), at(300));
        assert!(descriptions.outdated(&listed, at(599)).is_empty());
        assert_eq!(descriptions.outdated(&listed, at(600)), listed[..1]);
        let first = descriptions.lookup(&listed);
        descriptions.update(a, &xml(a, "a"), at(600));
        assert!(Arc::ptr_eq(&first[0], &descriptions.lookup(&listed)[0]), "nothing changed");
        descriptions.mark_stale(a);
        assert_eq!(descriptions.outdated(&listed, at(601)), listed[..1]);
        descriptions.update(a, &xml(a, "renamed"), at(602));
        assert_eq!(descriptions.lookup(&listed)[0].name, "renamed");
        assert!(descriptions.outdated(&listed[..1], at(603)).is_empty());
        assert_eq!(descriptions.outdated(&listed, at(604)), listed[1..], "b was not listed");
    }

    #[test]
    fn oversized_xml_affects_its_own_domain_only() {
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let listed = [(a, "a".to_owned()), (b, "b".to_owned())];
        let descriptions = Descriptions::default();
        let attributes: String = (0..100_000).map(|number| format!(" a{number}=''")).collect();
        let bomb = xml(a, "a").replace("<domain>", &format!("<domain{attributes}>"));
        descriptions.update(a, &bomb, at(0));
        descriptions.update(b, &xml(b, "b"), at(0));
        let readable = descriptions.lookup(&listed);
        assert_eq!(readable.iter().map(|domain| &*domain.name).collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn unreadable_descriptions_are_omitted() {
        let a = Uuid::from_u128(1);
        let listed = [(a, "a".to_owned())];
        let descriptions = Descriptions::default();
        descriptions.update(a, &xml(a, "a"), at(0));
        descriptions.update(a, "<domain/>", at(1));
        assert!(descriptions.lookup(&listed).is_empty());
        assert_eq!(descriptions.outdated(&listed, at(2)), listed);
    }
}
