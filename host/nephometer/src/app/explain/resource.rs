//! The resource that a client asks about: its domain, and whether that is metered and runs.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::selection::ResourceQuery;
use nephometer_config::{AgentSpec, DiscoveryMethod};
use nephometer_libvirt::hypervisor::Hypervisor;
use nephometer_model::{Domain, DomainState, Groups};
use nephometer_telemetry::Chain;

/// How long libvirt may take to list domains, and to report the state of one.
const PATIENCE: Duration = Duration::from_secs(5);
/// Known names in an answer.
const NAMES: usize = 10;

/// A resource with its domain.
pub(super) struct ExplainedResource {
    text: String,
    /// `None` if there is none on this host, or it is unknown because domains cannot be listed.
    pub(super) domain: Option<Arc<Domain>>,
    /// Selects its samples.
    pub(super) query: ResourceQuery,
    /// The device that the id names, if it names one.
    pub(super) device: Option<String>,
    /// Why domains cannot be listed.
    pub(super) unlistable: Option<String>,
    /// Names of other domains.
    pub(super) others: Vec<String>,
}

impl ExplainedResource {
    /// Finds a resource by the UUID or a name of its instance, or by its id.
    ///
    /// # Errors
    /// If several domains have this name.
    pub(super) async fn find(text: &str, hypervisor: &dyn Hypervisor) -> Result<Self, String> {
        let listed = tokio::time::timeout(PATIENCE, hypervisor.domains()).await;
        let (domains, unlistable) = match listed {
            Ok(Ok(domains)) => (domains, None),
            Ok(Err(error)) => (Vec::new(), Some(Chain(&error).to_string())),
            Err(_) => (Vec::new(), Some(format!("libvirt did not answer within {PATIENCE:?}"))),
        };
        let (domain, device) = match find(text, &domains)? {
            Some((domain, device)) => (Some(domain), device),
            None => (None, None),
        };
        let query = match (&domain, &device) {
            (Some(domain), None) => ResourceQuery::new(&domain.uuid.to_string()),
            _ => ResourceQuery::new(text),
        };
        let names = domains.iter().map(|one| display_name(one).to_owned());
        let others = names.take(NAMES).collect();
        Ok(Self { text: text.to_owned(), domain, query, device, unlistable, others })
    }

    /// The id of the instance in gaps; `None` without a domain, unless it is a UUID.
    pub(super) fn instance(&self) -> Option<String> {
        let named = || Uuid::parse_str(&self.text).ok();
        self.domain.as_ref().map(|domain| domain.uuid).or_else(named).map(|uuid| uuid.to_string())
    }

    /// Whether a gap of this id is one of the instance, or of the device if the id names one.
    pub(super) fn concerns(&self, id: &str) -> bool {
        let instance = self.instance();
        let of_instance =
            |instance: &str| id == instance || (self.device.is_none() && id.contains(instance));
        id == self.text || instance.as_deref().is_some_and(of_instance)
    }

    /// Whether the domain is metered at all, or why not.
    pub(super) fn unmetered(&self, spec: &AgentSpec) -> Option<String> {
        let domain = self.domain.as_ref()?;
        let naive = spec.discovery.method == DiscoveryMethod::Naive;
        (domain.nova.is_none() && !spec.libvirt.unowned && !naive)
            .then(|| "the domain has no metadata of Nova, and libvirt.unowned is false".to_owned())
    }

    /// Whether the domain lacks the device, or a name that it has not.
    pub(super) fn missing_device(&self) -> Option<String> {
        let (domain, device) = (self.domain.as_ref()?, self.device.as_deref()?);
        let disks = domain.disks.iter().map(|disk| disk.target.as_str());
        let known: Vec<&str> =
            disks.chain(domain.nics.iter().map(|nic| nic.target.as_str())).collect();
        // Such as `vcpu.0`.
        let part = device.contains('.');
        (!part && !known.contains(&device))
            .then(|| format!("the domain has no device {device:?}; it has {}", known.join(", ")))
    }

    /// The state of the domain now; `None` if libvirt does not report it in time.
    pub(super) async fn state(&self, hypervisor: &dyn Hypervisor) -> Option<DomainState> {
        let domain = [Arc::clone(self.domain.as_ref()?)];
        let reading = hypervisor.read(&domain, Groups::NONE);
        let read = tokio::time::timeout(PATIENCE, reading).await.ok()?.pop()?;
        read.ok()?.state
    }

    pub(super) fn json(&self) -> Value {
        let domain = self.domain.as_ref();
        json!({
            "asked": self.text,
            "instance": self.instance(),
            "name": domain.map(|one| &one.name),
            "display_name": domain.map(|one| display_name(one)),
            "device": self.device,
        })
    }
}

fn display_name(domain: &Domain) -> &str {
    domain.nova.as_ref().map_or(&domain.name, |nova| &nova.name)
}

type Found = (Arc<Domain>, Option<String>);

fn find(text: &str, domains: &[Arc<Domain>]) -> Result<Option<Found>, String> {
    let uuid = Uuid::parse_str(text).ok();
    let is = |one: &&Arc<Domain>| Some(one.uuid) == uuid || one.name == text;
    if let Some(domain) = domains.iter().find(is) {
        return Ok(Some((Arc::clone(domain), None)));
    }
    let named: Vec<&Arc<Domain>> = domains.iter().filter(|one| display_name(one) == text).collect();
    match named[..] {
        [] => {}
        [domain] => return Ok(Some((Arc::clone(domain), None))),
        _ => {
            let uuids: Vec<String> = named.iter().map(|one| one.uuid.to_string()).collect();
            return Err(format!("several domains have the name {text:?}: {}", uuids.join(", ")));
        }
    }
    // `UUID-vda`, `NAME-UUID-tap0`, or the filter of an interface.
    let device_of = |domain: &Arc<Domain>| {
        let uuid = format!("{}-", domain.uuid);
        let nic = || domain.nics.iter().find(|nic| nic.filterref.as_deref() == Some(text));
        let device = text.split_once(&uuid).map(|(_, device)| device.to_owned());
        device.or_else(|| nic().map(|nic| nic.target.clone()))
    };
    let found = domains.iter().find_map(|one| Some((Arc::clone(one), device_of(one)?)));
    Ok(found.map(|(domain, device)| (domain, Some(device))))
}

#[cfg(test)]
mod tests {
    use nephometer_model::NicDevice;

    use super::*;

    #[test]
    fn a_resource_is_found_by_uuid_name_and_device() {
        let nic = NicDevice {
            target: "tap0".to_owned(),
            mac: String::new(),
            filterref: Some("fa163e".to_owned()),
            parameters: serde_json::Map::new(),
        };
        let domain = |number: u128, name: &str| {
            let (uuid, name, nics) = (Uuid::from_u128(number), name.to_owned(), vec![nic.clone()]);
            Arc::new(Domain { uuid, name, nics, ..Domain::default() })
        };
        let domains = [domain(1, "a"), domain(2, "b")];
        let uuid = domains[1].uuid.to_string();
        let found = |text: &str| {
            let found = find(text, &domains).unwrap()?;
            Some((found.0.name.clone(), found.1))
        };
        for (text, device) in
            [(uuid.clone(), None), ("b".to_owned(), None), (format!("{uuid}-vda"), Some("vda"))]
        {
            assert_eq!(found(&text), Some(("b".to_owned(), device.map(str::to_owned))), "{text}");
        }
        assert_eq!(found("fa163e"), Some(("a".to_owned(), Some("tap0".to_owned()))));
        assert_eq!(found("c"), None);
    }
}
