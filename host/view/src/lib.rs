//! What the agent's page shows of guests.
//!
//! Given: polled batches. Gives back: JSON about domains, missing values and the last values of meters.
//! It owns what is remembered of the past and its bounds; it must not know HTTP, sinks or the store.
//!
//! **Off the data path.** The router offers each batch to a [`ViewFeed`], which puts a reference into a
//! bounded channel and never waits. A task of its own, [`View::run`], reads them. Batches that it had no
//! time for are counted, and the page shows their number.

mod domains;
mod values;
mod view;

pub use view::{View, ViewFeed};
