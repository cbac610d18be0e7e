//! Ceilometer's v2 API over HTTP, `/v1/agents` and `/v1/gaps`, `/health`, `/metrics`, `/openapi.json`, and
//! the page, which shows what these answer.
//!
//! `server` has the listener and the connections and knows nothing of the API; `routes` maps requests
//! to answers and knows nothing of sockets, so that either can be replaced. Quirks of the real API
//! are kept where a client can see them; `docs/api.md` lists every difference.

mod access;
mod audit;
mod complex;
mod conditions;
mod document;
mod endpoints;
mod error;
mod flat;
mod fleet;
mod keystone;
mod metrics;
mod post;
mod render;
mod request;
mod rights;
mod routes;
mod server;
mod statistics;

pub(crate) use access::{Access, AccessError, AccessRules, hashed};
pub(crate) use audit::AuditSettings;
pub(crate) use request::Request;
pub(crate) use routes::{Answer, Api};
pub(crate) use server::Server;
