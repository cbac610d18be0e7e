//! What Nova's API knows of the domains, as of the beginning of a cycle. Never waits for it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use uuid::Uuid;

use super::Discovery;
use nephometer_config::DiscoveryMethod;
use nephometer_model::{Domain, Server, ServerInventory};

/// The servers of one poll task.
pub(super) struct KnownServers {
    discovery: Discovery,
    inventory: Arc<ServerInventory>,
    /// Domains that Nova has not listed, with its number of answers when they were first seen.
    unlisted: HashMap<Uuid, u64>,
    /// Whether domains were listed before.
    began: bool,
}

impl KnownServers {
    pub(super) fn new(discovery: Discovery) -> Self {
        Self { discovery, inventory: Arc::default(), unlisted: HashMap::new(), began: false }
    }

    /// Takes what is known now, and asks for more if a domain is new.
    pub(super) fn update(&mut self, listed: &[Arc<Domain>]) {
        let Some(source) = &self.discovery.servers else { return };
        self.inventory = source.now();
        let servers = &self.inventory.servers;
        let unlisted = listed.iter().map(|domain| domain.uuid);
        let unlisted: HashSet<Uuid> = unlisted.filter(|uuid| !servers.contains_key(uuid)).collect();
        self.unlisted.retain(|uuid, _| unlisted.contains(uuid));
        let answers = self.inventory.answers;
        let before = self.unlisted.len();
        // What is there at the start was there when Nova was asked, a moment ago.
        let seen = if self.began { answers } else { answers.saturating_sub(1) };
        self.began = true;
        for uuid in unlisted {
            self.unlisted.entry(uuid).or_insert(seen);
        }
        // Before the first answer Nova is being asked anyway.
        if self.unlisted.len() > before && answers > 0 {
            source.want();
        }
    }

    /// The server of a domain, if it is known.
    pub(super) fn of(&self, uuid: Uuid) -> Option<&Arc<Server>> {
        self.inventory.servers.get(&uuid)
    }

    /// Whether Nova was not asked with success since the domain is there: what it knows is missing.
    pub(super) fn is_awaited(&self, domain: &Domain) -> bool {
        self.discovery.servers.is_some()
            && domain.nova.is_some()
            && self.unlisted.get(&domain.uuid).is_some_and(|seen| self.inventory.answers <= *seen)
    }

    /// Whether a domain is metered: with `naive` if Nova lists it, as in Ceilometer, or may still
    /// list it; else if it is Nova's. Domains that are not Nova's are if `unowned` is set.
    pub(super) fn is_metered(&self, domain: &Domain, unowned: bool) -> bool {
        let (listed, described) = (self.of(domain.uuid).is_some(), domain.nova.is_some());
        match self.discovery.spec.method {
            DiscoveryMethod::LibvirtMetadata | DiscoveryMethod::Merged => unowned || described,
            DiscoveryMethod::Naive if described => listed || self.is_awaited(domain),
            DiscoveryMethod::Naive => listed || unowned,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;
    use crate::libvirt::describe;
    use nephometer_config::DiscoverySpec;
    use nephometer_model::ServerSource;

    #[derive(Default)]
    struct Nova {
        inventory: Mutex<ServerInventory>,
        wanted: AtomicUsize,
    }

    impl ServerSource for Nova {
        fn now(&self) -> Arc<ServerInventory> {
            Arc::new(self.inventory.lock().unwrap().clone())
        }

        fn want(&self) {
            self.wanted.fetch_add(1, Relaxed);
        }
    }

    fn domain(number: u128) -> Arc<Domain> {
        let uuid = Uuid::from_u128(number);
        let nova = "http://openstack.org/xmlns/libvirt/nova/1.1";
        Arc::new(
            describe(&format!(
                "<domain><name>d</name><uuid>{uuid}</uuid><metadata><instance xmlns='{nova}'>\
                 <name>n</name><flavor name='f'/><owner><user uuid='u'/><project uuid='p'/></owner>\
                 </instance></metadata></domain>"
            ))
            .unwrap(),
        )
    }

    #[test]
    fn a_new_domain_is_awaited_until_the_next_list_of_nova() {
        let nova = Arc::new(Nova::default());
        let spec = DiscoverySpec { method: DiscoveryMethod::Naive, ..DiscoverySpec::default() };
        let servers = Some(Arc::clone(&nova) as Arc<dyn ServerSource>);
        let mut known = KnownServers::new(Discovery { spec: Arc::new(spec), servers });
        let (first, second) = (domain(1), domain(2));
        known.update(&[Arc::clone(&first)]);
        assert!(known.is_awaited(&first) && known.is_metered(&first, false), "Nova never answered");
        assert_eq!(nova.wanted.load(Relaxed), 0, "it is being asked anyway");
        {
            let mut inventory = nova.inventory.lock().unwrap();
            inventory.answers = 1;
            inventory.servers.insert(first.uuid, Arc::default());
        }
        known.update(&[Arc::clone(&first), Arc::clone(&second)]);
        assert!(!known.is_awaited(&first) && known.of(first.uuid).is_some());
        assert!(known.is_awaited(&second) && known.is_metered(&second, false));
        known.update(&[Arc::clone(&first), Arc::clone(&second)]);
        assert_eq!(nova.wanted.load(Relaxed), 1, "asked once for the new one");
        nova.inventory.lock().unwrap().answers = 2;
        known.update(&[Arc::clone(&first), Arc::clone(&second)]);
        assert!(
            !known.is_awaited(&second) && !known.is_metered(&second, false),
            "Nova lists it not"
        );
        // Regression: `once` metered domains that Nova's first answer did not list.
        let mut started = KnownServers::new(known.discovery.clone());
        started.update(&[Arc::clone(&second)]);
        assert!(!started.is_awaited(&second) && !started.is_metered(&second, true));
        let (own, listed) = (Domain::default(), Domain { uuid: first.uuid, ..Domain::default() });
        assert!(known.is_metered(&own, true) && !known.is_metered(&own, false));
        assert!(known.is_metered(&listed, false), "Nova lists it, though its XML says nothing");
    }
}
