//! What Ceilometer's HTTP publishers have in common: [`Receiver`] reads the options of their URLs,
//! [`Outbox`] delivers an envelope by one request or by several, [`SampleText`] reads what
//! columns cannot say.

#[cfg(feature = "golden")]
pub mod golden;
mod outbox;
mod receiver;
mod text;

pub use outbox::{Outbox, Post};
pub use receiver::Receiver;
pub use text::SampleText;
