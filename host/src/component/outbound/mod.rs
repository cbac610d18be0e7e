//! What publishers may reach. Everything that a guest sends passes [`Policy`]; what it refuses is
//! told to the operator with the grant that would allow it, and to the guest as access denied.
//!
//! Given: grants of the configuration. Gives back: the WASI imports of publishers, which reach
//! the granted places and nothing else: no files, no environment, no listening.

mod cpu;
mod http;
mod kind;
mod lookup;
mod policy;
mod stdio;
mod tls;
mod wasi;

pub(super) use cpu::{Metered, Processor};
pub(super) use policy::Policy;
pub(super) use wasi::{Caller, linker};
