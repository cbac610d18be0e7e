use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use uuid::Uuid;

use super::resource::{self, Place};
use nephometer_model::{Domain, DomainState, Resource};

/// Keeps the resources of every domain from tick to tick, so that equal ones are one object.
#[derive(Debug)]
pub(crate) struct ResourceCache {
    place: Place,
    domains: HashMap<Uuid, Described>,
}

/// The resources of one domain in one state; each is made when it is first asked for.
#[derive(Debug)]
pub struct Described {
    place: Place,
    domain: Arc<Domain>,
    state: DomainState,
    vm: Arc<Resource>,
    cpu: Option<(Option<u64>, Arc<Resource>)>,
    /// By position in [`Domain::disks`].
    disks: Vec<Option<Arc<Resource>>>,
    /// By position in [`Domain::nics`].
    nics: Vec<Option<Arc<Resource>>>,
    all_disks: Option<Arc<Resource>>,
    /// By what libvirt calls them.
    parts: HashMap<String, Arc<Resource>>,
}

impl ResourceCache {
    /// Knows nothing yet.
    pub(crate) fn new(place: Place) -> Self {
        Self { place, domains: HashMap::new() }
    }

    /// The resources of a domain. New ones are made if its description or its state changed.
    pub(crate) fn describe(&mut self, domain: &Arc<Domain>, state: DomainState) -> &mut Described {
        match self.domains.entry(domain.uuid) {
            Entry::Occupied(entry) => {
                let known = entry.into_mut();
                if known.state != state || !same(&known.domain, domain) {
                    *known = Described::new(&self.place, domain, state);
                }
                known
            }
            Entry::Vacant(entry) => entry.insert(Described::new(&self.place, domain, state)),
        }
    }

    /// The instance of a domain that cannot be read now: as it was last.
    pub(crate) fn instance(&mut self, domain: &Arc<Domain>) -> Arc<Resource> {
        match self.domains.get(&domain.uuid) {
            Some(known) => known.vm(),
            None => self.describe(domain, DomainState::NoState).vm(),
        }
    }

    /// Forgets a domain that is gone. The ids of all resources that it can have had.
    pub(crate) fn remove(&mut self, uuid: Uuid) -> Vec<Arc<str>> {
        self.domains.remove(&uuid).map(|known| known.ids()).unwrap_or_default()
    }

    /// Forgets all domains but those that `keep` wants. The ids of their resources.
    pub(crate) fn retain(&mut self, keep: impl Fn(Uuid) -> bool) -> Vec<Arc<str>> {
        let gone: Vec<Uuid> = self.domains.keys().copied().filter(|uuid| !keep(*uuid)).collect();
        gone.into_iter().flat_map(|uuid| self.remove(uuid)).collect()
    }
}

impl Described {
    fn new(place: &Place, domain: &Arc<Domain>, state: DomainState) -> Self {
        Self {
            place: place.clone(),
            domain: Arc::clone(domain),
            state,
            vm: Arc::new(resource::vm(place, domain, state)),
            cpu: None,
            disks: vec![None; domain.disks.len()],
            nics: vec![None; domain.nics.len()],
            all_disks: None,
            parts: HashMap::new(),
        }
    }

    /// What it was made from.
    pub fn domain(&self) -> &Arc<Domain> {
        &self.domain
    }

    /// The instance.
    pub(crate) fn vm(&self) -> Arc<Resource> {
        Arc::clone(&self.vm)
    }

    /// The instance with `cpu_number`.
    pub fn cpu(&mut self, cpu_number: Option<u64>) -> Arc<Resource> {
        match &self.cpu {
            Some((number, resource)) if *number == cpu_number => Arc::clone(resource),
            _ => {
                let resource = Arc::new(resource::cpu(&self.vm, cpu_number));
                self.cpu = Some((cpu_number, Arc::clone(&resource)));
                resource
            }
        }
    }

    /// The disk at this position of [`Domain::disks`]; `None` behind the last one.
    pub fn disk(&mut self, position: usize) -> Option<Arc<Resource>> {
        let device = self.domain.disks.get(position)?;
        let made = self.disks.get_mut(position)?;
        Some(Arc::clone(made.get_or_insert_with(|| Arc::new(resource::disk(&self.vm, device)))))
    }

    /// The interface at this position of [`Domain::nics`]; `None` behind the last one.
    pub fn nic(&mut self, position: usize) -> Option<Arc<Resource>> {
        let device = self.domain.nics.get(position)?;
        let made = self.nics.get_mut(position)?;
        let make = || Arc::new(resource::nic(&self.place, &self.vm, &self.domain, device));
        Some(Arc::clone(made.get_or_insert_with(make)))
    }

    /// The disks at these positions of [`Domain::disks`] together: always the same ones.
    pub(crate) fn all_disks(&mut self, positions: &[usize]) -> Arc<Resource> {
        let disks = positions.iter().filter_map(|position| self.domain.disks.get(*position));
        let make = || Arc::new(resource::disks(&self.vm, disks));
        Arc::clone(self.all_disks.get_or_insert_with(make))
    }

    /// A part that libvirt counts, such as `vcpu.0`.
    pub fn part(&mut self, part: &str) -> Arc<Resource> {
        if let Some(known) = self.parts.get(part) {
            return Arc::clone(known);
        }
        let made = Arc::new(resource::part(&self.vm, part));
        self.parts.insert(part.to_owned(), Arc::clone(&made));
        made
    }

    /// The ids of the instance and of all its devices.
    pub fn ids(&self) -> Vec<Arc<str>> {
        let disks = self.domain.disks.iter().map(|disk| resource::disk_id(&self.vm, disk));
        let nics = self.domain.nics.iter().map(|nic| resource::nic_id(&self.vm, &self.domain, nic));
        let parts = self.parts.keys().map(|part| resource::part_id(&self.vm, part));
        std::iter::once(Arc::clone(&self.vm.id)).chain(disks).chain(nics).chain(parts).collect()
    }
}

/// Descriptions are shared, so this is nearly always decided by the address alone.
fn same(known: &Arc<Domain>, domain: &Arc<Domain>) -> bool {
    Arc::ptr_eq(known, domain) || known == domain
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::libvirt::describe;
    use nephometer_model::Release;

    fn place() -> Place {
        Place { host: "h".into(), source: "openstack".into(), release: Release::Current }
    }

    fn domain(name: &str) -> Arc<Domain> {
        let xml = format!(
            "<domain><name>{name}</name><uuid>a75c2fa5-6c03-45a8-bbf7-b993cfcdec27</uuid><devices>\
             <disk><source/><target dev='vda'/></disk><disk><source/><target dev='vdb'/></disk>\
             </devices></domain>"
        );
        Arc::new(describe(&xml).unwrap())
    }

    #[test]
    fn resources_are_made_once_per_revision() {
        let mut cache = ResourceCache::new(place());
        let old = domain("old");
        let first = cache.describe(&old, DomainState::Running).disk(1).unwrap();
        let again = cache.describe(&domain("old"), DomainState::Running).disk(1).unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        let paused = cache.describe(&old, DomainState::Paused).disk(1).unwrap();
        assert_eq!(paused.id, first.id);
        assert_eq!(paused.metadata["state"], "paused");
        let renamed = cache.describe(&domain("new"), DomainState::Paused);
        assert_eq!(renamed.vm().metadata["name"], "new");
        let two = renamed.cpu(Some(2));
        assert!(Arc::ptr_eq(&two, &renamed.cpu(Some(2))));
        assert_eq!(renamed.cpu(None).metadata["cpu_number"], serde_json::Value::Null);
    }

    #[test]
    fn what_is_gone_is_named_once() {
        let mut cache = ResourceCache::new(place());
        let domain = domain("d");
        cache.describe(&domain, DomainState::Running);
        assert!(cache.retain(|_| true).is_empty());
        let gone = cache.retain(|_| false);
        let uuid = domain.uuid;
        let expected = [uuid.to_string(), format!("{uuid}-vda"), format!("{uuid}-vdb")];
        assert_eq!(gone.iter().map(|id| &**id).collect::<Vec<_>>(), expected);
        assert!(cache.remove(domain.uuid).is_empty());
    }
}
