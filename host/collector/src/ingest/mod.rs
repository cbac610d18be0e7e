//! The way of a message: from a queue or a file to the store, and its acknowledgement back.
//!
//! Whoever has a message hands it over with a [`Receipt`]; the writer commits it together with others
//! and fulfils the receipt after the commit. The queue between is bounded, so that a store that is
//! slow, full or gone stops those who hand over, and these stop acknowledging.

pub(crate) mod amqp;
pub(crate) mod files;
mod receivers;
mod stream;
pub(crate) mod writer;

pub(crate) use receivers::Receiver;
pub(crate) use writer::{Handover, Health, PostHandover, Receipt, Writer};
