//! Which domains there are, and the resources that they make.

use std::collections::HashSet;
use std::sync::Arc;

use uuid::Uuid;

use super::PollContext;
use crate::discovery::{self, Described, ResourceCache};
use crate::inspect::InspectError;
use crate::model::{Domain, DomainState};
use crate::telemetry::events;

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
        let site = discovery::Place {
            host: Arc::clone(&context.host),
            source: Arc::clone(&context.sample_source),
            release: context.metering.release,
        };
        let resources = ResourceCache::new(site);
        Self { context, last: Vec::new(), listable: true, resources }
    }

    /// The domains that there are now; the last ones where that cannot be known, unless polling is
    /// to fail then.
    pub(super) async fn list(&mut self) -> Result<Listed, InspectError> {
        match self.context.hypervisor.domains().await {
            Ok(domains) => {
                if !self.listable {
                    events::poll::domains_known(domains.len());
                }
                self.listable = true;
                let unowned = self.context.unowned;
                let metered = |domain: &Arc<Domain>| discovery::is_metered(domain, unowned);
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

    /// The resources of a domain that was read in this state.
    pub(super) fn described(&mut self, domain: &Arc<Domain>, state: DomainState) -> &mut Described {
        self.resources.describe(domain, state)
    }
}
