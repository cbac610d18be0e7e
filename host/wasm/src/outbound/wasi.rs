use std::sync::Arc;

use wasmtime::Engine;
use wasmtime::component::{HasSelf, Linker, ResourceTable};
use wasmtime_wasi::p2::bindings::sockets::{ip_name_lookup, tcp_create_socket, udp_create_socket};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::access::Access;
use super::http::Requests;
use super::sockets::{Bounded, View};
use super::stdio::Lines;
use super::texts;
use crate::bindings::nephometer::metering::{log, types};
use crate::guest::Guest;
use nephometer_model::Bound;

/// What belongs to the store of one publisher.
pub struct Caller {
    guest: Guest,
    pub(super) access: Arc<Access>,
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    requests: Requests,
}

impl Caller {
    /// A guest that reaches what its access allows.
    pub(crate) fn new(guest: Guest, component: &Arc<str>, access: &Arc<Access>) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(Bound::Resources.size());
        let count = guest.limiter.count();
        let lines = |error| Lines::new(component, count, error);
        // Neither sockets nor look-ups: those that are allowed get a context of their own.
        let mut wasi = WasiCtx::builder();
        wasi.allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .max_random_size(Bound::RandomBytes.most())
            .stdout(lines(false))
            .stderr(lines(true));
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(Bound::HttpFields.size());
        Self {
            guest,
            table,
            wasi: wasi.build(),
            http,
            requests: Requests::new(access),
            access: Arc::clone(access),
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

/// Within policy and budget.
fn bounded(caller: &mut Caller) -> View<'_> {
    let Caller { access, wasi, table, .. } = caller;
    View::new(access, WasiCtxView { ctx: wasi, table })
}

/// The imports of publishers: the log, and WASI with nothing in it but clocks, random numbers and
/// what the access allows. Also toolchains whose output imports files and environment find them:
/// empty.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<Caller>> {
    let mut linker = Linker::new(engine);
    log::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |caller: &mut Caller| &mut caller.guest)?;
    types::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |caller: &mut Caller| {
        &mut caller.guest
    })?;
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    linker.allow_shadowing(true);
    ip_name_lookup::add_to_linker::<Caller, Bounded>(&mut linker, bounded)?;
    tcp_create_socket::add_to_linker::<Caller, Bounded>(&mut linker, bounded)?;
    udp_create_socket::add_to_linker::<Caller, Bounded>(&mut linker, bounded)?;
    texts::add_to_linker(&mut linker)?;
    linker.allow_shadowing(false);
    Ok(linker)
}
