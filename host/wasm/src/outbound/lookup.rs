//! Looking up names: only those that are granted, and only addresses that may be reached; on the
//! threads of [`resolver`](super::resolver), in place of what wasmtime-wasi does on its runtime's.

use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::vec;

use wasmtime::component::Resource;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::bindings::sockets::ip_name_lookup::{
    Host, HostResolveAddressStream, ResolveAddressStream,
};
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddress};
use wasmtime_wasi::p2::{DynPollable, Network, Pollable, SocketError, subscribe};
use wasmtime_wasi::runtime::{AbortOnDropJoinHandle, spawn};

use super::resolver::LookupError;
use super::sockets::View;
use nephometer_config::Reach;
use nephometer_model::Bound;

/// What stands in the table for a `resolve-address-stream`.
struct Addresses {
    /// What was looked up; `None` for an address, which leads to itself and is judged when
    /// something is sent there.
    name: Option<String>,
    state: LookupState,
    /// The last address was refused, and none before it was not.
    refused: bool,
}

enum LookupState {
    UnderWay(AbortOnDropJoinHandle<Result<vec::IntoIter<IpAddr>, ErrorCode>>),
    Done(Result<vec::IntoIter<IpAddr>, ErrorCode>),
}

impl Addresses {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let LookupState::UnderWay(lookup) = &mut self.state {
            match Pin::new(lookup).poll(context) {
                Poll::Ready(found) => self.state = LookupState::Done(found),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    }
}

#[async_trait]
impl Pollable for Addresses {
    async fn ready(&mut self) {
        std::future::poll_fn(|context| self.poll(context)).await;
    }
}

/// The guest's handle as one to what really stands in the table.
fn ours(stream: &Resource<ResolveAddressStream>) -> Resource<Addresses> {
    Resource::new_borrow(stream.rep())
}

impl View<'_> {
    /// Begins to look up a name, if that is allowed.
    fn look_up(&mut self, name: &str, asked: &str) -> Result<LookupState, SocketError> {
        if let Err(refusal) = self.access.policy.lookup(name, None) {
            self.access.policy.tell(&refusal);
            return Err(ErrorCode::AccessDenied.into());
        }
        let lookup = self.access.lookups.begin().ok_or(ErrorCode::TemporaryResolverFailure)?;
        // A dot at the end is not for us: the system does not search its own domains then.
        let dot = if asked.ends_with('.') { "." } else { "" };
        let asked = format!("{name}{dot}");
        Ok(LookupState::UnderWay(spawn(async move {
            match lookup.addresses(asked, 0).await {
                Ok(found) => {
                    let found = found.into_iter().map(|address| address.ip().to_canonical());
                    Ok(found.collect::<Vec<_>>().into_iter())
                }
                Err(LookupError::TimedOut) => Err(ErrorCode::TemporaryResolverFailure),
                Err(LookupError::Failed(_)) => Err(ErrorCode::NameUnresolvable),
            }
        })))
    }
}

impl Host for View<'_> {
    fn resolve_addresses(
        &mut self,
        network: Resource<Network>,
        asked: String,
    ) -> Result<Resource<ResolveAddressStream>, SocketError> {
        // It has to be there, and means nothing else.
        self.inner.table.get(&network)?;
        if !self.access.refusals.allow(Bound::HostNameBytes, asked.len()) {
            return Err(ErrorCode::InvalidArgument.into());
        }
        let (name, state) = match Reach::host(&asked).ok_or(ErrorCode::InvalidArgument)? {
            Reach::Range(range) => (None, LookupState::Done(Ok(vec![range.addr()].into_iter()))),
            Reach::Host(name) => {
                let state = self.look_up(&name, &asked)?;
                (Some(name), state)
            }
        };
        let stream = self.inner.table.push(Addresses { name, state, refused: false })?;
        Ok(Resource::new_own(stream.rep()))
    }
}

impl HostResolveAddressStream for View<'_> {
    fn resolve_next_address(
        &mut self,
        stream: Resource<ResolveAddressStream>,
    ) -> Result<Option<IpAddress>, SocketError> {
        let policy = &self.access.policy;
        let stream = self.inner.table.get_mut(&ours(&stream))?;
        if stream.poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            return Err(ErrorCode::WouldBlock.into());
        }
        let LookupState::Done(found) = &mut stream.state else {
            return Err(ErrorCode::WouldBlock.into());
        };
        let found = found.as_mut().map_err(|error| *error)?;
        for address in found {
            let Some(name) = &stream.name else { return Ok(Some(address.into())) };
            match policy.found_some(name, address) {
                Ok(()) => {
                    stream.refused = false;
                    return Ok(Some(address.into()));
                }
                Err(refusal) => {
                    policy.tell(&refusal);
                    stream.refused = true;
                }
            }
        }
        // That all were refused is not that there are none.
        if stream.refused { Err(ErrorCode::AccessDenied.into()) } else { Ok(None) }
    }

    fn subscribe(
        &mut self,
        stream: Resource<ResolveAddressStream>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.inner.table, ours(&stream))
    }

    fn drop(&mut self, stream: Resource<ResolveAddressStream>) -> wasmtime::Result<()> {
        self.inner.table.delete(Resource::<Addresses>::new_own(stream.rep()))?;
        Ok(())
    }
}
