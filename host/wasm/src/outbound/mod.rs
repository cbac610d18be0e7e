//! The network access of publishers. All traffic of a guest passes [`Access`]: its policy refuses
//! destinations that are not granted, with a log line that names the missing grant. Its budget
//! bounds sockets, connections and lookups.
//!
//! Provides the WASI imports of publishers, which reach granted destinations and nothing else: no
//! files, no environment, no listening.

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
pub(crate) use caller::PublisherData;
pub(super) use excess::exceeded;
pub(super) use wasi::linker;
