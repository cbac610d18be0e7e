//! Plain data types that all other crates share.
//!
//! Nothing here does IO, depends on tokio or logs. Times are in nanoseconds, sizes in the unit that
//! their field documents. A value that was not reported is `None`, never 0.

mod batch;
mod bounds;
mod delivery;
mod domain;
mod event;
mod gap;
mod glob;
mod id;
mod meter;
mod moment;
mod reading;
mod release;
mod resource;
mod sample;
mod secret;
mod server;
mod text;

pub use batch::{Batch, Offset, Polled};
pub use bounds::{Bound, Exceeded, Row, Supplier};
pub use delivery::DeliveryResult;
pub use domain::{DiskDevice, Domain, DomainState, Flavor, NicDevice, Nova};
pub use event::{DomainEvent, LifecycleEvent, StopReason};
pub use gap::{Gap, GapReason};
pub use glob::{Glob, GlobError};
pub use id::{About, Computed, HostId};
pub use meter::{Meter, MeterType};
pub use moment::{Moment, Timestamp};
pub use reading::{
    DiskReading, Groups, MemoryReading, NicReading, PerfReading, RawNumber, Reading, VcpuReading,
};
pub use release::{Quirks, Release};
pub use resource::Resource;
pub use sample::{Sample, Volume};
pub use secret::Secret;
pub use server::{Server, ServerInventory, ServerSource};
pub use text::{beginning, clean, is_hostile};
