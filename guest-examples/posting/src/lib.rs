//! What Ceilometer's HTTP publishers have in common: [`Receiver`] reads the options of their URLs,
//! [`Outbox`] delivers an envelope with one or more requests, and [`SampleText`] reads the exact
//! volume of a sample.

#[cfg(feature = "golden")]
pub mod golden;
mod outbox;
mod receiver;
mod text;

pub use outbox::{CallTime, Outbox, Post};
pub use receiver::Receiver;
pub use text::SampleText;
