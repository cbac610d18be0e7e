use std::sync::Arc;

use super::budget::{AllSockets, Refusals, Sockets};
use super::policy::Policy;
use super::resolver::{Lookups, Resolver};
use crate::stats::ComponentCount;
use nephometer_config::Grant;

/// What all publishers of a host share.
#[derive(Debug)]
pub(crate) struct Outbound {
    sockets: Arc<AllSockets>,
    resolver: Resolver,
}

impl Outbound {
    /// `sockets` is `components.totals.sockets`.
    pub(crate) fn new(sockets: usize) -> Self {
        Self { sockets: Arc::new(AllSockets::new(sockets)), resolver: Resolver::new() }
    }

    /// The setting has changed. What is open stays open.
    pub(crate) fn set_sockets(&self, sockets: usize) {
        self.sockets.set(sockets);
    }
}

/// What one publisher may reach, and how much of it at once, over all its instances.
#[derive(Debug)]
pub struct Access {
    pub(super) policy: Arc<Policy>,
    pub(super) sockets: Arc<Sockets>,
    pub(super) lookups: Lookups,
    pub(super) refusals: Arc<Refusals>,
}

impl Access {
    /// `url` is what the publisher's own URL grants.
    pub(crate) fn new(
        component: &Arc<str>,
        url: Vec<Grant>,
        grants: &[Grant],
        outbound: &Outbound,
        count: &Arc<ComponentCount>,
    ) -> Self {
        let refusals = Arc::new(Refusals::new(component, count));
        Self {
            policy: Arc::new(Policy::new(component, url, grants)),
            sockets: Sockets::new(&outbound.sockets, &refusals),
            lookups: Lookups::new(&outbound.resolver, &refusals),
            refusals,
        }
    }
}
