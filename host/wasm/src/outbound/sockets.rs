//! Creates sockets within policy and budget.
//!
//! A socket of wasmtime-wasi owns the address check that it was created with. The check owns the
//! [`SocketPermit`](super::budget::SocketPermit), which is therefore released with the socket,
//! whoever drops it. The context of the store itself allows no sockets.

use std::net::SocketAddr;

use wasmtime::component::{HasData, Resource};
use wasmtime_wasi::p2::bindings::sockets::network::{self, ErrorCode, IpAddressFamily};
use wasmtime_wasi::p2::bindings::sockets::{tcp_create_socket, udp_create_socket};
use wasmtime_wasi::p2::{Network, SocketError, TcpSocket, UdpSocket};
use wasmtime_wasi::sockets::{SocketAddrUse, WasiSocketsCtxView};
use wasmtime_wasi::{WasiCtx, WasiCtxView};

use super::access::Access;
use super::policy::Policy;

/// [`SocketsView`] for wasmtime's linker.
pub(super) struct HasSockets;

impl HasData for HasSockets {
    type Data<'a> = SocketsView<'a>;
}

/// The sockets and lookups of wasmtime-wasi, within policy and budget.
pub(super) struct SocketsView<'a> {
    pub(super) access: &'a Access,
    pub(super) inner: WasiSocketsCtxView<'a>,
}

impl<'a> SocketsView<'a> {
    #[expect(clippy::needless_pass_by_value, reason = "a pair of references")]
    pub(super) fn new(access: &'a Access, wasi: WasiCtxView<'a>) -> Self {
        let inner = WasiSocketsCtxView { ctx: wasi.ctx.sockets(), table: wasi.table };
        Self { access, inner }
    }

    /// A context for one socket.
    fn context(&self) -> Result<WasiCtx, SocketError> {
        let permit = self.access.sockets.try_acquire().ok_or(ErrorCode::NewSocketLimit)?;
        let policy = std::sync::Arc::clone(&self.access.policy);
        let mut wasi = WasiCtx::builder();
        wasi.allow_tcp(true).allow_udp(true).socket_addr_check(move |address, what| {
            let _held = &permit;
            let allowed = may_use(&policy, address, what);
            Box::pin(async move { allowed })
        });
        Ok(wasi.build())
    }
}

/// Whether a socket may be used this way. Guests only initiate traffic and never listen.
fn may_use(policy: &Policy, address: SocketAddr, what: SocketAddrUse) -> bool {
    match what {
        // The system chooses address and port: a chosen one could impersonate another service.
        SocketAddrUse::TcpBind | SocketAddrUse::UdpBind => {
            address.ip().is_unspecified() && address.port() == 0
        }
        SocketAddrUse::TcpListen | SocketAddrUse::TcpAccept => false,
        // Packets from other senders are dropped. Not logged: the network sent them, not the guest.
        SocketAddrUse::UdpReceive => policy.check_socket(address).is_ok(),
        SocketAddrUse::TcpConnect | SocketAddrUse::UdpSend => {
            policy.check_socket(address).inspect_err(|refusal| policy.report(refusal)).is_ok()
        }
    }
}

impl tcp_create_socket::Host for SocketsView<'_> {
    fn create_tcp_socket(
        &mut self,
        family: IpAddressFamily,
    ) -> Result<Resource<TcpSocket>, SocketError> {
        let mut wasi = self.context()?;
        let mut view = WasiSocketsCtxView { ctx: wasi.sockets(), table: self.inner.table };
        tcp_create_socket::Host::create_tcp_socket(&mut view, family)
    }
}

impl udp_create_socket::Host for SocketsView<'_> {
    async fn create_udp_socket(
        &mut self,
        family: IpAddressFamily,
    ) -> Result<Resource<UdpSocket>, SocketError> {
        let mut wasi = self.context()?;
        let mut view = WasiSocketsCtxView { ctx: wasi.sockets(), table: self.inner.table };
        udp_create_socket::Host::create_udp_socket(&mut view, family).await
    }
}

impl network::Host for SocketsView<'_> {
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

impl network::HostNetwork for SocketsView<'_> {
    fn drop(&mut self, network: Resource<Network>) -> wasmtime::Result<()> {
        network::HostNetwork::drop(&mut self.inner, network)
    }
}
