//! Sources of readings: libvirt, a simulation, or a recording.
//!
//! Given: domains and groups of statistics. Gives back: one reading or one error per domain. Must
//! not know meters: `poll` makes samples of readings.

mod anonymous;
mod calls;
mod capture;
mod descriptions;
mod dump;
mod jobs;
mod libvirt;
mod list_cache;
mod sim;
mod watch;

pub use dump::RawRecorder;

use std::sync::Arc;

use async_trait::async_trait;
use thiserror::Error;
use tokio::sync::broadcast;
use uuid::Uuid;

use crate::schedule::Clock;
use nephometer_config::LibvirtSpec;
use nephometer_model::{Domain, DomainEvent, Groups, Moment, Reading};

/// Opens the hypervisor that `uri` names: `sim://` and `replay://` are built in, any other URI is
/// libvirt's. Connects to libvirtd on first use only, so that the agent can start without it.
///
/// # Errors
/// The URI of a simulation or a recording is invalid, or the recording cannot be read.
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
    /// Starts a polling cycle. Returns its time, or `None` at the end of a recording.
    async fn begin_cycle(&self) -> Result<Option<Moment>, HypervisorError>;

    /// Lists all domains with their descriptions. A description is cached until
    /// [`Hypervisor::invalidate_description`] or until it is too old. A domain whose description
    /// cannot be read is omitted and logged.
    ///
    /// # Errors
    /// The domains cannot be listed.
    async fn domains(&self) -> Result<Vec<Arc<Domain>>, HypervisorError>;

    /// Reads a slice of domains. Returns one result per domain, in the same order.
    async fn read(
        &self,
        domains: &[Arc<Domain>],
        groups: Groups,
    ) -> Vec<Result<Reading, ReadError>>;

    /// Whether a domain that was [`ReadError::Stuck`] answers again. Must be cheap and must not
    /// hang itself.
    async fn probe(&self, domain: &Domain) -> bool;

    /// Marks the description of a domain as out of date.
    fn invalidate_description(&self, uuid: Uuid);

    /// Subscribes to events of domains, with their times; `None` if there are no events.
    fn events(&self) -> Option<broadcast::Receiver<(DomainEvent, Moment)>> {
        None
    }

    /// Calls made to libvirtd since the start; `None` for other hypervisors.
    fn call_stats(&self) -> Option<CallStats> {
        None
    }

    /// What determines the time of a cycle.
    fn pace(&self) -> Pace {
        Pace::Clock
    }

    /// The recommended number of domains per call.
    fn slice_size(&self) -> usize;
}

/// Calls made to libvirtd since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallStats {
    /// Finished calls.
    pub calls: u64,
    /// Their total duration. Divided by the elapsed time it is the number of libvirtd workers that
    /// the agent occupies.
    pub busy: std::time::Duration,
    /// Calls past their deadline that have not returned yet.
    pub abandoned: usize,
}

/// What determines the time of a cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// The clock: one cycle per interval.
    Clock,
    /// The recording: cycles follow each other as fast as the pipelines process them, with all
    /// sources in each.
    Recorded,
}

/// Why a hypervisor cannot be read at all.
#[derive(Debug, Error)]
pub enum HypervisorError {
    /// The URI is invalid.
    #[error("{}: {reason}", nephometer_config::without_user(.uri))]
    Uri {
        /// As given.
        uri: String,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// libvirt returned an error.
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

/// Why one domain has no reading.
#[derive(Debug, Error)]
pub enum ReadError {
    /// It was removed after it had been listed.
    #[error("the domain does not exist any more")]
    Removed,
    /// Its QEMU did not answer within the deadline; the call was abandoned.
    #[error("the domain does not answer")]
    Stuck,
    /// It shared a call with a domain that did not answer. Worth one retry.
    #[error("another domain in the same call did not answer")]
    SharedTimeout,
    /// Anything else that concerns this domain.
    #[error("{0}")]
    Failed(String),
}
