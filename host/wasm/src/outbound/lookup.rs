//! Name lookups of guests: only granted names and allowed addresses. Runs on the threads of
//! [`resolver`](super::resolver), not on those of wasmtime-wasi's runtime.

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
use super::sockets::SocketsView;
use nephometer_config::ConnectTarget;
use nephometer_model::Bound;

/// The table entry of a `resolve-address-stream`.
struct Addresses {
    /// The looked-up name; `None` for an address, which is checked when something is sent there.
    name: Option<String>,
    state: LookupState,
    /// Whether all addresses so far were refused.
    refused: bool,
}

enum LookupState {
    Running(AbortOnDropJoinHandle<Result<vec::IntoIter<IpAddr>, ErrorCode>>),
    Done(Result<vec::IntoIter<IpAddr>, ErrorCode>),
}

impl Addresses {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let LookupState::Running(lookup) = &mut self.state {
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

/// The guest's handle, typed as the table entry.
fn as_addresses(stream: &Resource<ResolveAddressStream>) -> Resource<Addresses> {
    Resource::new_borrow(stream.rep())
}

impl SocketsView<'_> {
    /// Starts a lookup, if the policy allows the name.
    fn look_up(&mut self, name: &str, requested: &str) -> Result<LookupState, SocketError> {
        if let Err(refusal) = self.access.policy.check_name(name, None) {
            self.access.policy.report(&refusal);
            return Err(ErrorCode::AccessDenied.into());
        }
        let lookup = self.access.lookups.try_start().ok_or(ErrorCode::TemporaryResolverFailure)?;
        // A trailing dot keeps the system from appending its search domains.
        let dot = if requested.ends_with('.') { "." } else { "" };
        let queried = format!("{name}{dot}");
        Ok(LookupState::Running(spawn(async move {
            match lookup.addresses(queried, 0).await {
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

impl Host for SocketsView<'_> {
    fn resolve_addresses(
        &mut self,
        network: Resource<Network>,
        requested: String,
    ) -> Result<Resource<ResolveAddressStream>, SocketError> {
        // The handle must be valid; it has no other meaning.
        self.inner.table.get(&network)?;
        if !self.access.refusals.allow(Bound::HostNameBytes, requested.len()) {
            return Err(ErrorCode::InvalidArgument.into());
        }
        let (name, state) =
            match ConnectTarget::host(&requested).ok_or(ErrorCode::InvalidArgument)? {
                ConnectTarget::Range(range) => {
                    (None, LookupState::Done(Ok(vec![range.addr()].into_iter())))
                }
                ConnectTarget::Host(name) => {
                    let state = self.look_up(&name, &requested)?;
                    (Some(name), state)
                }
            };
        let stream = self.inner.table.push(Addresses { name, state, refused: false })?;
        Ok(Resource::new_own(stream.rep()))
    }
}

impl HostResolveAddressStream for SocketsView<'_> {
    fn resolve_next_address(
        &mut self,
        stream: Resource<ResolveAddressStream>,
    ) -> Result<Option<IpAddress>, SocketError> {
        let policy = &self.access.policy;
        let stream = self.inner.table.get_mut(&as_addresses(&stream))?;
        if stream.poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            return Err(ErrorCode::WouldBlock.into());
        }
        let LookupState::Done(found) = &mut stream.state else {
            return Err(ErrorCode::WouldBlock.into());
        };
        let found = found.as_mut().map_err(|error| *error)?;
        for address in found {
            let Some(name) = &stream.name else { return Ok(Some(address.into())) };
            match policy.record_if_allowed(name, address) {
                Ok(()) => {
                    stream.refused = false;
                    return Ok(Some(address.into()));
                }
                Err(refusal) => {
                    policy.report(&refusal);
                    stream.refused = true;
                }
            }
        }
        // Refused addresses are reported as such, not as missing ones.
        if stream.refused { Err(ErrorCode::AccessDenied.into()) } else { Ok(None) }
    }

    fn subscribe(
        &mut self,
        stream: Resource<ResolveAddressStream>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.inner.table, as_addresses(&stream))
    }

    fn drop(&mut self, stream: Resource<ResolveAddressStream>) -> wasmtime::Result<()> {
        self.inner.table.delete(Resource::<Addresses>::new_own(stream.rep()))?;
        Ok(())
    }
}
