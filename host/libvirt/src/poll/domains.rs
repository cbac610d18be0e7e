//! Which domains there are, and the resources that they make.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use uuid::Uuid;

use super::PollContext;
use super::gaps::{self, Missed};
use crate::hypervisor::HypervisorError;
use crate::resource_metadata::{self, Described, ResourceCache};
use nephometer_model::{Domain, DomainState, Meter, MeterType, Moment, Resource, Sample, Volume};
use nephometer_telemetry::events;

/// What is known about domains from tick to tick.
pub(super) struct Domains {
    context: PollContext,
    last: Vec<Arc<Domain>>,
    listable: bool,
    resources: ResourceCache,
}

/// The domains of one tick.
pub(super) struct Listed {
    /// Those that are metered.
    pub domains: Vec<Arc<Domain>>,
    /// Ids of the resources of those that were there in an earlier tick and are not now.
    pub gone: Vec<Arc<str>>,
}

impl Domains {
    pub(super) fn new(context: PollContext) -> Self {
        let site = resource_metadata::Place {
            host: Arc::clone(&context.host),
            source: Arc::clone(&context.sample_source),
            release: context.metering.release,
        };
        let resources = ResourceCache::new(site);
        Self { context, last: Vec::new(), listable: true, resources }
    }

    /// The domains that there are now; the last ones where that cannot be known, unless polling is
    /// to fail then.
    pub(super) async fn list(&mut self) -> Result<Listed, HypervisorError> {
        match self.context.hypervisor.domains().await {
            Ok(domains) => {
                if !self.listable {
                    events::poll::domains_known(domains.len());
                }
                self.listable = true;
                let unowned = self.context.unowned;
                let metered = |domain: &Arc<Domain>| resource_metadata::is_metered(domain, unowned);
                self.last = domains.into_iter().filter(metered).collect();
            }
            Err(error) if self.context.fail_fast => return Err(error),
            Err(error) => {
                if self.listable {
                    events::poll::domains_unknown(&error, self.last.len());
                }
                self.listable = false;
            }
        }
        let there: HashSet<Uuid> = self.last.iter().map(|domain| domain.uuid).collect();
        let gone = self.resources.retain(|uuid| there.contains(&uuid));
        Ok(Listed { domains: self.last.clone(), gone })
    }

    /// A domain as it was listed last.
    pub(super) fn find(&self, uuid: Uuid) -> Option<Arc<Domain>> {
        self.last.iter().find(|domain| domain.uuid == uuid).map(Arc::clone)
    }

    /// The resources of a domain that was read in this state.
    pub(super) fn described(&mut self, domain: &Arc<Domain>, state: DomainState) -> &mut Described {
        self.resources.describe(domain, state)
    }

    /// What is missing as a sample: the seconds that are new of it, of the instance, or of this host
    /// where it is missing of all; with reason, begin and end in the metadata. Its id tells it from
    /// others of that time; that of the sample is made from it.
    pub(super) fn gap_sample(&mut self, cycle: Moment, missed: &Missed) -> Sample {
        let mut resource = match &missed.domain {
            Some(domain) => Resource::clone(&self.resources.instance(domain)),
            None => Resource {
                id: Arc::clone(&self.context.host),
                source: Arc::clone(&self.context.sample_source),
                ..Resource::default()
            },
        };
        let gap = json!({
            "reason": missed.reason.as_str(),
            "begin": missed.begin.iso(),
            "from": missed.from.iso(),
            "until": missed.until.iso(),
        });
        resource.metadata.insert("gap".to_owned(), gap);
        let nanos = missed.until.as_nanos().saturating_sub(missed.from.as_nanos());
        let told = [missed.begin.as_nanos(), missed.until.as_nanos()];
        Sample {
            id: self.context.host_id.name(&[missed.reason.as_str()], &told),
            meter: Arc::new(Meter::new(gaps::METER, MeterType::Delta, "s")),
            resource: Arc::new(resource),
            volume: Volume::Float(Duration::from_nanos(nanos).as_secs_f64()),
            taken: Moment { wall: missed.until, ..cycle },
        }
    }
}
