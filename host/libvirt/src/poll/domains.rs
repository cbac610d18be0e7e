//! The domains of this host and their resources, from cycle to cycle.
//!
//! Keeps the last list, so that polling goes on while libvirtd cannot be reached.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use uuid::Uuid;

use super::PollContext;
use super::gaps::{self, MissingPeriod};
use super::servers::KnownServers;
use crate::hypervisor::HypervisorError;
use crate::resource_metadata::{self, DomainResources, ResourceCache};
use nephometer_model::{Domain, DomainState, Meter, MeterType, Moment, Resource, Sample, Volume};
use nephometer_telemetry::{Chain, events};

/// The domains as they were listed last, and the resources of the metered ones.
pub(super) struct DomainInventory {
    context: PollContext,
    last_list: Vec<Arc<Domain>>,
    listable: bool,
    resources: ResourceCache,
    servers: KnownServers,
}

/// The domains of one cycle.
pub(super) struct DomainList {
    /// The metered ones.
    pub domains: Vec<Arc<Domain>>,
    /// Ids of the resources of domains that were removed since the previous cycle.
    pub removed: Vec<Arc<str>>,
}

impl DomainInventory {
    pub(super) fn new(context: PollContext) -> Self {
        let resources = ResourceCache::new(resource_metadata::ResourceContext {
            host: Arc::clone(&context.host),
            source: Arc::clone(&context.sample_source),
            release: context.metering.release,
            discovery: Arc::clone(&context.discovery.spec),
        });
        let servers = KnownServers::new(context.discovery.clone());
        Self { context, last_list: Vec::new(), listable: true, resources, servers }
    }

    /// Lists the domains. If that fails, returns the last list.
    ///
    /// # Errors
    /// Listing failed and the context requires failing fast.
    pub(super) async fn list(&mut self) -> Result<DomainList, HypervisorError> {
        match self.context.hypervisor.domains().await {
            Ok(domains) => {
                if !self.listable {
                    events::poll::domain_listing_restored(domains.len());
                }
                self.listable = true;
                self.context.counts.polling.set_listable(None);
                self.last_list = domains;
            }
            Err(error) if self.context.fail_fast => return Err(error),
            Err(error) => {
                if self.listable {
                    events::poll::domain_listing_failed(&error, self.last_list.len());
                }
                self.listable = false;
                let reason = Chain(&error).to_string();
                self.context.counts.polling.set_listable(Some(reason));
            }
        }
        self.servers.update(&self.last_list);
        let metered = |domain: &&Arc<Domain>| self.is_metered(domain);
        let domains: Vec<_> = self.last_list.iter().filter(metered).cloned().collect();
        let existing: HashSet<Uuid> = domains.iter().map(|domain| domain.uuid).collect();
        let removed = self.resources.retain(|uuid| existing.contains(&uuid));
        Ok(DomainList { domains, removed })
    }

    /// Finds a metered domain in the last list.
    pub(super) fn find(&self, uuid: Uuid) -> Option<Arc<Domain>> {
        let found = self.last_list.iter().find(|domain| domain.uuid == uuid)?;
        self.is_metered(found).then(|| Arc::clone(found))
    }

    fn is_metered(&self, domain: &Domain) -> bool {
        self.servers.is_metered(domain, self.context.unowned)
    }

    /// Whether the samples of a domain lack what Nova's API knows, because Nova does not answer.
    pub(super) fn lacks_metadata(&self, domain: &Domain) -> bool {
        self.servers.is_awaited(domain)
    }

    /// The resources of a domain that was read in this state.
    pub(super) fn resources_of(
        &mut self,
        domain: &Arc<Domain>,
        state: DomainState,
    ) -> &mut DomainResources {
        self.resources.resources_of(domain, state, self.servers.of(domain.uuid))
    }

    /// A gap as a sample: the seconds of the part reported now. Its resource is the instance, or
    /// this host if all domains are missing; reason, begin and end are in the metadata. The id
    /// identifies the gap; ids of samples are derived from it per source.
    pub(super) fn gap_sample(&mut self, cycle: Moment, missing: &MissingPeriod) -> Sample {
        let mut resource = match &missing.domain {
            Some(domain) => Resource::clone(&self.resources.instance(domain)),
            None => Resource {
                id: Arc::clone(&self.context.host),
                source: Arc::clone(&self.context.sample_source),
                ..Resource::default()
            },
        };
        let gap = json!({
            "reason": missing.reason.as_str(),
            "begin": missing.begin.iso(),
            "from": missing.from.iso(),
            "until": missing.until.iso(),
        });
        resource.metadata.insert("gap".to_owned(), gap);
        let nanos = missing.until.as_nanos().saturating_sub(missing.from.as_nanos());
        let bounds = [missing.begin.as_nanos(), missing.until.as_nanos()];
        Sample {
            id: self.context.host_id.name(&[missing.reason.as_str()], &bounds),
            meter: Arc::new(Meter::new(gaps::METER, MeterType::Delta, "s")),
            resource: Arc::new(resource),
            volume: Volume::Float(Duration::from_nanos(nanos).as_secs_f64()),
            taken: Moment { wall: missing.until, ..cycle },
        }
    }
}
