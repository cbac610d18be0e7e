//! What belongs to the store of one publisher.

use std::sync::Arc;

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::access::Access;
use super::http::Requests;
use super::sockets::View;
use super::stdio::Lines;
use crate::guest::Guest;
use nephometer_model::Bound;

/// What belongs to the store of one publisher.
pub struct Caller {
    pub(super) guest: Guest,
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

/// Sockets and look-ups within policy and budget.
pub(super) fn bounded(caller: &mut Caller) -> View<'_> {
    let Caller { access, wasi, table, .. } = caller;
    View::new(access, WasiCtxView { ctx: wasi, table })
}
