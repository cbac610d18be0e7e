//! What publishers may reach, and how much at once. Everything that a guest sends passes [`Access`].
//! Its policy refuses what is not granted: the operator gets a log line with the grant that would
//! allow it, the guest access-denied. Its budget bounds sockets, connections and look-ups.
//!
//! Given: grants of the configuration. Gives back: the WASI imports of publishers, which reach
//! the granted places and nothing else: no files, no environment, no listening.

mod access;
mod budget;
mod caller;
mod excess;
mod http;
mod kind;
mod lookup;
mod policy;
mod resolver;
mod sockets;
mod stdio;
mod texts;
mod tls;
mod wasi;

pub(crate) use access::Access;
pub(super) use access::Outbound;
pub(crate) use caller::Caller;
pub(super) use excess::exceeded;
pub(super) use wasi::linker;
