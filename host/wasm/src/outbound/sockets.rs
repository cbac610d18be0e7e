//! Making sockets: as many as the budget allows, under the policy.
//!
//! A socket of wasmtime-wasi keeps the check of addresses that it was made with for as long as it
//! is there. The check carries the [`Slot`](super::budget::Slot), which so comes back with the last
//! of the socket, whoever drops it. The context of the store itself allows no socket at all.

use std::net::SocketAddr;

use wasmtime::component::{HasData, Resource};
use wasmtime_wasi::p2::bindings::sockets::network::{self, ErrorCode, IpAddressFamily};
use wasmtime_wasi::p2::bindings::sockets::{tcp_create_socket, udp_create_socket};
use wasmtime_wasi::p2::{Network, SocketError, TcpSocket, UdpSocket};
use wasmtime_wasi::sockets::{SocketAddrUse, WasiSocketsCtxView};
use wasmtime_wasi::{WasiCtx, WasiCtxView};

use super::access::Access;
use super::policy::Policy;

/// [`View`] for wasmtime's linker.
pub(super) struct SocketsInBounds;

impl HasData for SocketsInBounds {
    type Data<'a> = View<'a>;
}

/// What wasmtime-wasi does, within policy and budget.
pub(super) struct View<'a> {
    pub(super) access: &'a Access,
    pub(super) inner: WasiSocketsCtxView<'a>,
}

impl<'a> View<'a> {
    #[expect(clippy::needless_pass_by_value, reason = "it is a pair of references")]
    pub(super) fn new(access: &'a Access, wasi: WasiCtxView<'a>) -> Self {
        let inner = WasiSocketsCtxView { ctx: wasi.ctx.sockets(), table: wasi.table };
        Self { access, inner }
    }

    /// A context for one socket.
    fn context(&self) -> Result<WasiCtx, SocketError> {
        let slot = self.access.sockets.take().ok_or(ErrorCode::NewSocketLimit)?;
        let policy = std::sync::Arc::clone(&self.access.policy);
        let mut wasi = WasiCtx::builder();
        wasi.allow_tcp(true).allow_udp(true).socket_addr_check(move |address, what| {
            let _held = &slot;
            let allowed = may_use(&policy, address, what);
            Box::pin(async move { allowed })
        });
        Ok(wasi.build())
    }
}

/// Whether a socket may be used so. A guest speaks first and never listens.
fn may_use(policy: &Policy, address: SocketAddr, what: SocketAddrUse) -> bool {
    match what {
        // The system chooses address and port; anything else could be taken for somebody else.
        SocketAddrUse::TcpBind | SocketAddrUse::UdpBind => {
            address.ip().is_unspecified() && address.port() == 0
        }
        SocketAddrUse::TcpListen | SocketAddrUse::TcpAccept => false,
        // Whoever was not written to has nothing to send; that is the network's doing, not the
        // guest's, and so not logged.
        SocketAddrUse::UdpReceive => policy.connect_found(address).is_ok(),
        SocketAddrUse::TcpConnect | SocketAddrUse::UdpSend => {
            policy.connect_found(address).inspect_err(|refusal| policy.tell(refusal)).is_ok()
        }
    }
}

impl tcp_create_socket::Host for View<'_> {
    fn create_tcp_socket(
        &mut self,
        family: IpAddressFamily,
    ) -> Result<Resource<TcpSocket>, SocketError> {
        let mut wasi = self.context()?;
        let mut view = WasiSocketsCtxView { ctx: wasi.sockets(), table: self.inner.table };
        tcp_create_socket::Host::create_tcp_socket(&mut view, family)
    }
}

impl udp_create_socket::Host for View<'_> {
    async fn create_udp_socket(
        &mut self,
        family: IpAddressFamily,
    ) -> Result<Resource<UdpSocket>, SocketError> {
        let mut wasi = self.context()?;
        let mut view = WasiSocketsCtxView { ctx: wasi.sockets(), table: self.inner.table };
        udp_create_socket::Host::create_udp_socket(&mut view, family).await
    }
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
