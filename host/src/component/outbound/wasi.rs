use std::net::SocketAddr;
use std::sync::Arc;

use wasmtime::Engine;
use wasmtime::component::{HasSelf, Linker, ResourceTable};
use wasmtime_wasi::p2::bindings::sockets::ip_name_lookup;
use wasmtime_wasi::sockets::SocketAddrUse;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::http::Requests;
use super::lookup::{Lookup, Names};
use super::policy::Policy;
use super::stdio::Lines;
use crate::component::bindings::nephometer::metering::{log, types};
use crate::component::instance::Guest;

/// What a guest may have in its hands at a time: sockets, requests, streams.
const RESOURCES: usize = 1_000;
/// Random bytes that one call gives.
const RANDOM: u64 = 64 << 10;

/// What belongs to the store of one publisher.
pub(crate) struct Caller {
    pub(crate) guest: Guest,
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    requests: Requests,
    names: Names,
}

impl Caller {
    /// A guest that reaches what the policy allows.
    pub(crate) fn new(guest: Guest, component: &Arc<str>, policy: &Arc<Policy>) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES);
        let judge = Arc::clone(policy);
        let mut wasi = WasiCtx::builder();
        wasi.allow_tcp(true)
            .allow_udp(true)
            .allow_ip_name_lookup(true)
            .max_random_size(RANDOM)
            .stdout(Lines::new(component, false))
            .stderr(Lines::new(component, true))
            .socket_addr_check(move |address, what| {
                let allowed = may_use(&judge, address, what);
                Box::pin(async move { allowed })
            });
        Self {
            guest,
            table,
            wasi: wasi.build(),
            http: WasiHttpCtx::new(),
            requests: Requests::new(policy),
            names: Names::new(policy),
        }
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
        // Whoever was not written to has nothing to say; that is the network's doing, not the
        // guest's, and so not told.
        SocketAddrUse::UdpReceive => policy.connect_found(address).is_ok(),
        SocketAddrUse::TcpConnect | SocketAddrUse::UdpSend => {
            policy.connect_found(address).inspect_err(|refusal| policy.tell(refusal)).is_ok()
        }
    }
}

impl AsMut<Guest> for Caller {
    fn as_mut(&mut self) -> &mut Guest {
        &mut self.guest
    }
}

impl WasiView for Caller {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Caller {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let Self { table, http, requests, .. } = self;
        WasiHttpCtxView { ctx: http, table, hooks: requests }
    }
}

/// The imports of publishers: the log, and WASI with nothing in it but clocks, random numbers and
/// what the policy allows. Also toolchains whose output imports files and environment find them:
/// empty.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<Caller>> {
    let mut linker = Linker::new(engine);
    log::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |caller: &mut Caller| &mut caller.guest)?;
    types::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |caller: &mut Caller| {
        &mut caller.guest
    })?;
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    // Names are looked up under the policy.
    linker.allow_shadowing(true);
    ip_name_lookup::add_to_linker::<Caller, Lookup>(&mut linker, |caller| {
        caller.names.view(WasiCtxView { ctx: &mut caller.wasi, table: &mut caller.table })
    })?;
    linker.allow_shadowing(false);
    Ok(linker)
}
