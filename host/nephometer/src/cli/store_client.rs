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

/// Whoever has the store: an agent, or we ourselves.
pub(super) struct StoreClient<'a> {
    socket: &'a Socket,
    /// Once it is known that no agent runs.
    own: Option<(Store, tokio::runtime::Runtime)>,
}

impl<'a> StoreClient<'a> {
    pub(super) fn new(socket: &'a Socket) -> Self {
        Self { socket, own: None }
    }

    pub(super) fn ask(&mut self, request: Request) -> Result<Value> {
        let (store, runtime) = match &self.own {
            Some(own) => own,
            None => match self.socket.ask(&request) {
                Err(error) if is_absent(&error) => self.own.insert(self.open()?),
                // The same question gets the same exit code, whoever answers.
                Err(error) if is_refused(&error) => return Err(error.context(Failure::Usage)),
                answered => return answered,
            },
        };
        let response =
            runtime.block_on(handle_store_request(&store.spools(), &store.gaps(), request));
        match (response.answer, response.error) {
            (Some(answer), _) => Ok(answer),
            (None, reason) => Err(anyhow!(reason.unwrap_or_default()).context(Failure::Usage)),
        }
    }

    /// Whether it was an agent that has answered.
    pub(super) fn is_an_agents(&self) -> bool {
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
