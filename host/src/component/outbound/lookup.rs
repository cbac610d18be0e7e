//! Looking up names: only those that are granted, and only addresses that may be reached.

use std::collections::HashMap;
use std::sync::Arc;

use wasmtime::component::{HasData, Resource};
use wasmtime_wasi::WasiCtxView;
use wasmtime_wasi::p2::bindings::sockets::ip_name_lookup::{
    Host, HostResolveAddressStream, ResolveAddressStream,
};
use wasmtime_wasi::p2::bindings::sockets::network::{self, ErrorCode, IpAddress};
use wasmtime_wasi::p2::{DynPollable, Network, SocketError};
use wasmtime_wasi::sockets::WasiSocketsCtxView;

use super::policy::Policy;
use crate::config::Reach;

/// The look-ups of one guest.
pub(super) struct Names {
    policy: Arc<Policy>,
    /// By the number of the stream: the name, and whether an address of it was refused.
    under_way: HashMap<u32, (String, bool)>,
}

impl Names {
    pub(super) fn new(policy: &Arc<Policy>) -> Self {
        Self { policy: Arc::clone(policy), under_way: HashMap::new() }
    }

    #[expect(clippy::needless_pass_by_value, reason = "it is a pair of references")]
    pub(super) fn view<'a>(&'a mut self, wasi: WasiCtxView<'a>) -> View<'a> {
        let inner = WasiSocketsCtxView { ctx: wasi.ctx.sockets(), table: wasi.table };
        View { names: self, inner }
    }
}

/// [`View`] as wasmtime wants to be told.
pub(super) struct Lookup;

impl HasData for Lookup {
    type Data<'a> = View<'a>;
}

/// What wasmtime-wasi does, with the policy before and behind it.
pub(super) struct View<'a> {
    names: &'a mut Names,
    inner: WasiSocketsCtxView<'a>,
}

impl network::Host for View<'_> {
    fn convert_error_code(&mut self, error: SocketError) -> wasmtime::Result<ErrorCode> {
        network::Host::convert_error_code(&mut self.inner, error)
    }

    fn network_error_code(
        &mut self,
        error: Resource<wasmtime::Error>,
    ) -> wasmtime::Result<Option<ErrorCode>> {
        network::Host::network_error_code(&mut self.inner, error)
    }
}

impl network::HostNetwork for View<'_> {
    fn drop(&mut self, network: Resource<Network>) -> wasmtime::Result<()> {
        network::HostNetwork::drop(&mut self.inner, network)
    }
}

impl Host for View<'_> {
    fn resolve_addresses(
        &mut self,
        network: Resource<Network>,
        name: String,
    ) -> Result<Resource<ResolveAddressStream>, SocketError> {
        // An address leads to itself, and is judged when something is sent there.
        let is_name = matches!(Reach::host(&name), Some(Reach::Host(_)));
        if is_name && let Err(refusal) = self.names.policy.lookup(&name, None) {
            self.names.policy.tell(&refusal);
            return Err(ErrorCode::AccessDenied.into());
        }
        let stream = Host::resolve_addresses(&mut self.inner, network, name.clone())?;
        if is_name {
            self.names.under_way.insert(stream.rep(), (name, false));
        }
        Ok(stream)
    }
}

impl HostResolveAddressStream for View<'_> {
    fn resolve_next_address(
        &mut self,
        stream: Resource<ResolveAddressStream>,
    ) -> Result<Option<IpAddress>, SocketError> {
        let number = stream.rep();
        loop {
            let stream = Resource::new_borrow(number);
            let next = HostResolveAddressStream::resolve_next_address(&mut self.inner, stream)?;
            let Some((name, refused)) = self.names.under_way.get_mut(&number) else {
                return Ok(next);
            };
            let Some(address) = next else {
                // That all were refused is not that there are none.
                return if *refused { Err(ErrorCode::AccessDenied.into()) } else { Ok(None) };
            };
            match self.names.policy.found_some(name, standard(address)) {
                Ok(()) => {
                    *refused = false;
                    return Ok(Some(address));
                }
                Err(refusal) => {
                    self.names.policy.tell(&refusal);
                    *refused = true;
                }
            }
        }
    }

    fn subscribe(
        &mut self,
        stream: Resource<ResolveAddressStream>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        HostResolveAddressStream::subscribe(&mut self.inner, stream)
    }

    fn drop(&mut self, stream: Resource<ResolveAddressStream>) -> wasmtime::Result<()> {
        self.names.under_way.remove(&stream.rep());
        HostResolveAddressStream::drop(&mut self.inner, stream)
    }
}

fn standard(address: IpAddress) -> std::net::IpAddr {
    match address {
        IpAddress::Ipv4((a, b, c, d)) => std::net::IpAddr::from([a, b, c, d]),
        IpAddress::Ipv6((a, b, c, d, e, f, g, h)) => {
            std::net::IpAddr::from([a, b, c, d, e, f, g, h])
        }
    }
}
