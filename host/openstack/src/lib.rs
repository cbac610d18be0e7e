//! Asks OpenStack for the servers of this host: a token of Keystone, one list of Nova, flavors and
//! images as they are needed. Asks Keystone whom the token of a client belongs to.
//!
//! Given: credentials, and the name of this host. Gives back: the last known servers, in a channel
//! that the poll tasks read without waiting. Must not know samples. Answers are bounded, and no
//! token or password leaves the requests that need it.

mod backoff;
mod catalog;
mod error;
mod glance;
mod http;
mod inventory;
mod keystone;
mod memory;
mod nova;
mod refresh;
#[cfg(test)]
mod tests;
mod validator;

pub use catalog::endpoint;
pub use refresh::{CloudSettings, Refresher, ServerFeed};
pub use validator::{TokenOwner, TokenValidator, ValidatorError};
