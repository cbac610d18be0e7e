//! An HTTP/1.1 server for the listeners of the agent: TCP or a UNIX socket, with TLS, client
//! certificates, bearer tokens, and limits on everything that a client can cause.
//!
//! Given: an address, who may ask, and a [`Router`]. It owns connections and their limits. It must
//! not know what the routes serve, and runs off the data path: nothing in a pipeline waits for it.
//!
//! **Why hyper alone.** The agent has hyper already, for what publishers send. axum would bring its
//! router, tower's layers and a dozen packages, and none of what matters here: the number of
//! connections, silent and slow clients, TLS, tokens and the check of the `Host` header are the same
//! code with it or without. A dozen routes need no more of a router than [`Router`] is.
//!
//! **Limits.** Each is a row of `model/bounds.rs` that begins with `http_`. A connection is *idle*
//! while no request is handled on it; when there are too many, the oldest idle one is closed for a
//! new one, so that silent clients never lock out others.

mod access;
mod body;
mod connection;
mod connections;
mod exchange;
#[cfg(any(fuzzing, test))]
pub mod fuzz;
mod listener;
mod router;
mod server;
mod stream;
#[cfg(test)]
mod tests;
mod tls;

pub use access::{Access, AccessRules, Caller, HostCheck, Token};
pub use body::Reply;
pub use hyper::{Method, StatusCode};
pub use listener::Address;
pub use router::{Request, Router};
pub use server::{ListenerSpec, serve};
pub use tls::TlsFiles;
