//! The resources of all domains, kept from cycle to cycle, so that equal ones share one object.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use uuid::Uuid;

use super::resource::{self, ResourceContext};
use super::server;
use nephometer_model::{Domain, DomainState, Resource, Server};

/// The resources of every domain.
#[derive(Debug)]
pub(crate) struct ResourceCache {
    context: ResourceContext,
    domains: HashMap<Uuid, DomainResources>,
}

/// The resources of one domain in one state. Each is made on first use.
#[derive(Debug)]
pub struct DomainResources {
    context: ResourceContext,
    /// As it was given.
    described: Arc<Domain>,
    server: Option<Arc<Server>>,
    /// With what Nova's API knows.
    domain: Arc<Domain>,
    state: DomainState,
    vm: Arc<Resource>,
    cpu: Option<(Option<u64>, Arc<Resource>)>,
    /// By index in [`Domain::disks`].
    disks: Vec<Option<Arc<Resource>>>,
    /// By index in [`Domain::nics`].
    nics: Vec<Option<Arc<Resource>>>,
    all_disks: Option<Arc<Resource>>,
    /// By libvirt's name, such as `vcpu.0`.
    parts: HashMap<String, Arc<Resource>>,
}

impl ResourceCache {
    /// An empty cache.
    pub(crate) fn new(context: ResourceContext) -> Self {
        Self { context, domains: HashMap::new() }
    }

    /// The resources of a domain. They are replaced if its description or state changed, or what
    /// Nova's API knows of it.
    pub(crate) fn resources_of(
        &mut self,
        domain: &Arc<Domain>,
        state: DomainState,
        server: Option<&Arc<Server>>,
    ) -> &mut DomainResources {
        match self.domains.entry(domain.uuid) {
            Entry::Occupied(entry) => {
                let known = entry.into_mut();
                let same_server = match (&known.server, server) {
                    (Some(known), Some(server)) => same(known, server),
                    (known, server) => known.is_none() && server.is_none(),
                };
                if known.state != state || !same(&known.described, domain) || !same_server {
                    *known = DomainResources::new(&self.context, domain, state, server);
                }
                known
            }
            Entry::Vacant(entry) => {
                entry.insert(DomainResources::new(&self.context, domain, state, server))
            }
        }
    }

    /// The instance of a domain that cannot be read now, in its last known state.
    pub(crate) fn instance(&mut self, domain: &Arc<Domain>) -> Arc<Resource> {
        match self.domains.get(&domain.uuid) {
            Some(known) => known.vm(),
            None => self.resources_of(domain, DomainState::NoState, None).vm(),
        }
    }

    /// Forgets a removed domain. Returns the ids of all its resources.
    pub(crate) fn remove(&mut self, uuid: Uuid) -> Vec<Arc<str>> {
        self.domains.remove(&uuid).map(|known| known.ids()).unwrap_or_default()
    }

    /// Forgets domains that no longer exist. Returns the ids of all their resources.
    pub(crate) fn retain(&mut self, exists: impl Fn(Uuid) -> bool) -> Vec<Arc<str>> {
        let removed: Vec<Uuid> =
            self.domains.keys().copied().filter(|uuid| !exists(*uuid)).collect();
        removed.into_iter().flat_map(|uuid| self.remove(uuid)).collect()
    }
}

impl DomainResources {
    fn new(
        context: &ResourceContext,
        described: &Arc<Domain>,
        state: DomainState,
        server: Option<&Arc<Server>>,
    ) -> Self {
        let overlay =
            |known: &Arc<Server>| Arc::new(server::overlay(described, known, &context.discovery));
        let domain = server.map_or_else(|| Arc::clone(described), overlay);
        Self {
            context: context.clone(),
            described: Arc::clone(described),
            server: server.cloned(),
            state,
            vm: Arc::new(resource::vm(context, &domain, state, server.map(|server| &**server))),
            cpu: None,
            disks: vec![None; domain.disks.len()],
            nics: vec![None; domain.nics.len()],
            all_disks: None,
            parts: HashMap::new(),
            domain,
        }
    }

    /// The description that the resources are made from.
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

    /// The disk at this index of [`Domain::disks`]; `None` if out of range.
    pub fn disk(&mut self, position: usize) -> Option<Arc<Resource>> {
        let device = self.domain.disks.get(position)?;
        let cached = self.disks.get_mut(position)?;
        Some(Arc::clone(cached.get_or_insert_with(|| Arc::new(resource::disk(&self.vm, device)))))
    }

    /// The interface at this index of [`Domain::nics`]; `None` if out of range.
    pub fn nic(&mut self, position: usize) -> Option<Arc<Resource>> {
        let device = self.domain.nics.get(position)?;
        let cached = self.nics.get_mut(position)?;
        let make = || Arc::new(resource::nic(&self.context, &self.vm, &self.domain, device));
        Some(Arc::clone(cached.get_or_insert_with(make)))
    }

    /// The disks at these indices of [`Domain::disks`] as one resource. Each call must pass the
    /// same indices.
    pub(crate) fn all_disks(&mut self, positions: &[usize]) -> Arc<Resource> {
        let disks = positions.iter().filter_map(|position| self.domain.disks.get(*position));
        let make = || Arc::new(resource::disks(&self.vm, disks));
        Arc::clone(self.all_disks.get_or_insert_with(make))
    }

    /// An indexed part, such as `vcpu.0`.
    pub fn part(&mut self, part: &str) -> Arc<Resource> {
        if let Some(known) = self.parts.get(part) {
            return Arc::clone(known);
        }
        let cached = Arc::new(resource::part(&self.vm, part));
        self.parts.insert(part.to_owned(), Arc::clone(&cached));
        cached
    }

    /// An indexed part of a disk, such as a bin of a histogram. `None` if there is no such disk.
    pub(crate) fn disk_part(&mut self, position: usize, part: &str) -> Option<Arc<Resource>> {
        let disk = self.disk(position)?;
        let key = format!("{}.{part}", disk.id);
        if let Some(known) = self.parts.get(&key) {
            return Some(Arc::clone(known));
        }
        let cached = Arc::new(resource::part(&disk, part));
        self.parts.insert(key, Arc::clone(&cached));
        Some(cached)
    }

    /// The ids of the instance and of all its devices.
    pub fn ids(&self) -> Vec<Arc<str>> {
        let disks = self.domain.disks.iter().map(|disk| resource::disk_id(&self.vm, disk));
        let nics = self.domain.nics.iter().map(|nic| resource::nic_id(&self.vm, &self.domain, nic));
        let parts = self.parts.values().map(|part| Arc::clone(&part.id));
        std::iter::once(Arc::clone(&self.vm.id)).chain(disks).chain(nics).chain(parts).collect()
    }
}

/// Compares addresses first: descriptions are shared, so that nearly always decides.
fn same<T: PartialEq>(known: &Arc<T>, given: &Arc<T>) -> bool {
    Arc::ptr_eq(known, given) || known == given
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::libvirt::describe;
    use nephometer_model::Release;

    fn context() -> ResourceContext {
        let (host, source, discovery) = ("h".into(), "openstack".into(), Arc::default());
        ResourceContext { host, source, release: Release::Current, discovery }
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
    fn resources_are_made_once_per_description_and_state() {
        let mut cache = ResourceCache::new(context());
        let old = domain("old");
        let first = cache.resources_of(&old, DomainState::Running, None).disk(1).unwrap();
        let again = cache.resources_of(&domain("old"), DomainState::Running, None).disk(1).unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        let paused = cache.resources_of(&old, DomainState::Paused, None).disk(1).unwrap();
        assert_eq!(paused.id, first.id);
        assert_eq!(paused.metadata["state"], "paused");
        let renamed = cache.resources_of(&domain("new"), DomainState::Paused, None);
        assert_eq!(renamed.vm().metadata["name"], "new");
        let two = renamed.cpu(Some(2));
        assert!(Arc::ptr_eq(&two, &renamed.cpu(Some(2))));
        assert_eq!(renamed.cpu(None).metadata["cpu_number"], serde_json::Value::Null);
    }

    #[test]
    fn ids_of_removed_resources_are_returned_once() {
        let mut cache = ResourceCache::new(context());
        let domain = domain("d");
        cache.resources_of(&domain, DomainState::Running, None);
        assert!(cache.retain(|_| true).is_empty());
        let removed = cache.retain(|_| false);
        let uuid = domain.uuid;
        let expected = [uuid.to_string(), format!("{uuid}-vda"), format!("{uuid}-vdb")];
        assert_eq!(removed.iter().map(|id| &**id).collect::<Vec<_>>(), expected);
        assert!(cache.remove(domain.uuid).is_empty());
    }
}
