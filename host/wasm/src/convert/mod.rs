//! The one place between the agent's vocabulary and the contract's.
//!
//! Given: samples. Gives back: columns for the guest ([`batch`]); and from the guest's answer,
//! checked whole, samples again ([`answer`]). One fault refuses all of an answer.
//!
//! Samples that the guest made carry the nil id: whoever runs the chain names them.

mod answer;
mod batch;
mod by_address;
mod metadata;
mod size;

pub(super) use answer::{flushed, transformed};
pub(super) use batch::{Columns, Filter};
pub(super) use metadata::Texts;
