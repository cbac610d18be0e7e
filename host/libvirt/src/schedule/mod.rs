//! Clocks, and the timer that starts polling cycles.
//!
//! The only module that reads the system clocks; all others are given a [`Clock`].

mod clock;
mod ticker;

pub use clock::Clock;
pub(crate) use ticker::Ticker;
