//! The network access of publishers: what one may reach, and what all share.

use std::path::PathBuf;
use std::sync::Arc;

use super::budget::{Refusals, SharedSockets, Sockets};
use super::policy::Policy;
use super::resolver::{Lookups, Resolver};
use super::tls::Authorities;
use crate::stats::ComponentCounters;
use nephometer_config::Grant;

/// Sockets and name lookups of all publishers of a host.
#[derive(Debug)]
pub(crate) struct Outbound {
    sockets: Arc<SharedSockets>,
    resolver: Resolver,
}

impl Outbound {
    /// `sockets` is `components.totals.sockets`.
    pub(crate) fn new(sockets: usize) -> Self {
        Self { sockets: Arc::new(SharedSockets::new(sockets)), resolver: Resolver::new() }
    }

    /// Changes the limit on sockets. Open sockets stay open.
    pub(crate) fn set_sockets(&self, sockets: usize) {
        self.sockets.set(sockets);
    }
}

/// The destinations that one publisher may reach, and its socket and lookup limits, over all its
/// instances.
#[derive(Debug)]
pub struct Access {
    pub(super) policy: Arc<Policy>,
    pub(super) sockets: Arc<Sockets>,
    pub(super) lookups: Lookups,
    pub(super) refusals: Arc<Refusals>,
    /// Whose certificates are trusted.
    pub(super) authorities: Authorities,
}

impl Access {
    /// `url` are the grants of the publisher's own URL.
    pub(crate) fn new(
        component: &Arc<str>,
        url: Vec<Grant>,
        grants: &[Grant],
        outbound: &Outbound,
        counters: &Arc<ComponentCounters>,
    ) -> Self {
        let refusals = Arc::new(Refusals::new(component, counters));
        Self {
            policy: Arc::new(Policy::new(component, url, grants)),
            sockets: Sockets::new(&outbound.sockets, &refusals),
            lookups: Lookups::new(&outbound.resolver, &refusals),
            refusals,
            authorities: Authorities::default(),
        }
    }

    /// The same, but with the authorities in this file in place of those of the machine.
    pub(crate) fn trusting(self, file: Option<PathBuf>) -> Self {
        Self { authorities: Authorities::new(file), ..self }
    }
}
