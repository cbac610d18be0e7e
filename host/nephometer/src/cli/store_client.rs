//! Requests about the store. A running agent answers them; if none runs, this process opens the
//! store itself.

use anyhow::{Context, Result, anyhow};
use serde_json::Value;

use super::Failure;
use super::ask::Socket;
use super::run::runtime;
use crate::app::handle_store_request;
use crate::control::{ControlError, Request};
use nephometer_store::Store;

/// A client of the store, through a running agent or directly.
pub(super) struct StoreClient<'a> {
    socket: &'a Socket,
    /// The open store, once a request has shown that no agent runs.
    own: Option<(Store, tokio::runtime::Runtime)>,
}

impl<'a> StoreClient<'a> {
    /// Opens nothing yet.
    pub(super) fn new(socket: &'a Socket) -> Self {
        Self { socket, own: None }
    }

    /// Sends a request to the agent, or handles it on the store.
    ///
    /// # Errors
    /// With exit code 64 if the request is refused, and 69 if there is neither an agent nor a store.
    pub(super) fn request(&mut self, request: Request) -> Result<Value> {
        let (store, runtime) = match &self.own {
            Some(own) => own,
            None => match self.socket.send(&request) {
                Err(error) if is_absent(&error) => self.own.insert(self.open()?),
                // The exit code is the same with and without an agent.
                Err(error) if is_refused(&error) => return Err(error.context(Failure::Usage)),
                result => return result,
            },
        };
        let (spools, gaps, identity) = (store.spools(), store.gaps(), store.identity());
        let handling = handle_store_request(&spools, &gaps, identity.as_deref(), request);
        let response = runtime.block_on(handling);
        match (response.answer, response.error) {
            (Some(answer), _) => Ok(answer),
            (None, reason) => Err(anyhow!(reason.unwrap_or_default()).context(Failure::Usage)),
        }
    }

    /// Whether an agent has handled the requests.
    pub(super) fn has_agent(&self) -> bool {
        self.own.is_none()
    }

    fn open(&self) -> Result<(Store, tokio::runtime::Runtime)> {
        let path = self.socket.spec()?.store.path;
        if !path.exists() {
            let what = format!("there is no store at {}", path.display());
            return Err(anyhow!(what).context(Failure::Unavailable));
        }
        Ok((Store::open(&path).context(Failure::Unavailable)?, runtime()?))
    }
}

fn is_absent(error: &anyhow::Error) -> bool {
    error.downcast_ref::<ControlError>().is_some_and(|e| matches!(e, ControlError::Absent { .. }))
}

fn is_refused(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<ControlError>(), Some(ControlError::Refused(_)))
}
