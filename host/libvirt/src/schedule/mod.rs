//! Time: what it is, and when the next tick comes.
//!
//! The only module that asks the machine for the time; all others are given a [`Clock`].

mod clock;
mod ticker;

pub use clock::Clock;
pub(crate) use ticker::Ticker;
