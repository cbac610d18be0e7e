//! Where numbers about domains come from: libvirt, a simulation, or a recording.
//!
//! Given: which domains and which groups. Gives back: one reading or one error for each of them.
//! Must not know meters: turning numbers into samples is `poll`'s.

mod calls;
mod capture;
mod descriptions;
mod libvirt;
mod listing;
mod sim;
mod watch;

use std::sync::Arc;

use async_trait::async_trait;
use thiserror::Error;
use tokio::sync::broadcast;
use uuid::Uuid;

use crate::schedule::Clock;
use nephometer_config::LibvirtSpec;
use nephometer_model::{Domain, DomainEvent, Groups, Moment, Reading};

/// The source of readings that `uri` names: `sim://` and `replay://` are built in, everything
/// else is libvirt's. No connection is opened yet, so that the agent can start while libvirtd is
/// away.
pub fn open(
    uri: &str,
    spec: &LibvirtSpec,
    clock: Clock,
) -> Result<Arc<dyn Hypervisor>, HypervisorError> {
    if uri.starts_with("sim:") {
        return Ok(Arc::new(sim::Sim::open(uri, clock)?));
    }
    if uri.starts_with("replay:") {
        return Ok(Arc::new(capture::Capture::open(uri)?));
    }
    Ok(Arc::new(libvirt::Libvirt::new(uri, spec, clock)))
}

/// A source of readings. One object serves all poll tasks.
#[async_trait]
pub trait Hypervisor: Send + Sync {
    /// Called once at the start of every tick. The time of the tick, or `None` when there will be
    /// no more: the end of a recording.
    async fn begin_cycle(&self) -> Result<Option<Moment>, HypervisorError>;

    /// All domains that there are now, described. A description is read once per domain and kept
    /// until [`Hypervisor::forget`], or until it is old. A domain whose description cannot be
    /// read is left out and named in the log.
    async fn domains(&self) -> Result<Vec<Arc<Domain>>, HypervisorError>;

    /// Reads a slice of domains: as many answers, in the same order.
    async fn read(
        &self,
        domains: &[Arc<Domain>],
        groups: Groups,
    ) -> Vec<Result<Reading, ReadError>>;

    /// Whether a domain that was [`ReadError::Stuck`] answers again. Must be cheap and must not
    /// get stuck itself.
    async fn probe(&self, domain: &Domain) -> bool;

    /// The description of this domain is out of date.
    fn forget(&self, uuid: Uuid);

    /// What happens to domains, with the time, from now on; `None` if nobody tells.
    fn events(&self) -> Option<broadcast::Receiver<(DomainEvent, Moment)>> {
        None
    }

    /// What was asked of whoever is read from, since the start; `None` where that costs nobody
    /// anything.
    fn load(&self) -> Option<Load> {
        None
    }

    /// Whether ticks follow the clock.
    fn pace(&self) -> Pace {
        Pace::Clock
    }

    /// How many domains are best read with one call.
    fn slice(&self) -> usize;
}

/// What was asked of libvirt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Calls that have ended.
    pub calls: u64,
    /// How long they took together: divided by the time, how many of libvirtd's workers we hold.
    pub busy: std::time::Duration,
    /// Calls that were given up and have not ended yet.
    pub hanging: usize,
}

/// What says when the next tick is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// The interval, by the clock.
    Clock,
    /// The recording: as fast as the pipelines take it, all sources at every tick.
    Recorded,
}

/// Why there is nothing to read from at all.
#[derive(Debug, Error)]
pub enum HypervisorError {
    /// The URI cannot be used.
    #[error("{}: {reason}", nephometer_config::without_user(.uri))]
    Uri {
        /// As given.
        uri: String,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// libvirt said no.
    #[error("libvirt: {0}")]
    Libvirt(String),
    /// libvirt did not answer in time.
    #[error("libvirt did not answer within {0:?}")]
    TimeOut(std::time::Duration),
    /// A recording cannot be read.
    #[error("{path}: {reason}")]
    Recording {
        /// The file or folder.
        path: std::path::PathBuf,
        /// What is wrong and what would be right.
        reason: String,
    },
}

/// Why there is no reading of one domain.
#[derive(Debug, Error)]
pub enum ReadError {
    /// It went away since it was listed.
    #[error("the domain is gone")]
    Gone,
    /// Its QEMU did not answer: the call that asked for it was abandoned.
    #[error("the domain does not answer")]
    Stuck,
    /// It shared a call with one that did not answer; worth one more try.
    #[error("another domain of the same call did not answer")]
    Unanswered,
    /// Anything else that concerns this domain.
    #[error("{0}")]
    Failed(String),
}
