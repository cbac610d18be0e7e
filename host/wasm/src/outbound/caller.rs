//! The store data of one publisher instance: WASI contexts that reach only what is granted.

use std::sync::Arc;

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::access::Access;
use super::http::HttpHooks;
use super::sockets::SocketsView;
use super::stdio::StdioLog;
use crate::guest::Guest;
use nephometer_model::Bound;

/// The store data of one publisher instance.
pub struct PublisherData {
    pub(super) guest: Guest,
    pub(super) access: Arc<Access>,
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    requests: HttpHooks,
}

impl PublisherData {
    /// The data of a guest with this network access.
    pub(crate) fn new(guest: Guest, component: &Arc<str>, access: &Arc<Access>) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(Bound::Resources.size());
        let counters = guest.limiter.counters();
        let log = |error| StdioLog::new(component, counters, error);
        // No sockets and lookups here: allowed ones get their own context.
        let mut wasi = WasiCtx::builder();
        wasi.allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .max_random_size(Bound::RandomBytes.most())
            .stdout(log(false))
            .stderr(log(true));
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(Bound::HttpFields.size());
        Self {
            guest,
            table,
            wasi: wasi.build(),
            http,
            requests: HttpHooks::new(access),
            access: Arc::clone(access),
        }
    }
}

impl AsMut<Guest> for PublisherData {
    fn as_mut(&mut self) -> &mut Guest {
        &mut self.guest
    }
}

impl WasiView for PublisherData {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for PublisherData {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let Self { table, http, requests, .. } = self;
        WasiHttpCtxView { ctx: http, table, hooks: requests }
    }
}

/// The sockets and lookups of a guest, within policy and budget.
pub(super) fn sockets_view(caller: &mut PublisherData) -> SocketsView<'_> {
    let PublisherData { access, wasi, table, .. } = caller;
    SocketsView::new(access, WasiCtxView { ctx: wasi, table })
}
