//! The linker with the imports of publishers.

use wasmtime::Engine;
use wasmtime::component::{HasSelf, Linker};
use wasmtime_wasi::p2::bindings::sockets::{ip_name_lookup, tcp_create_socket, udp_create_socket};

use super::caller::{PublisherData, sockets_view};
use super::sockets::HasSockets;
use super::texts;
use crate::bindings::nephometer::metering::{log, types};
use crate::guest::Guest;

/// The imports of publishers: the log, and WASI with clocks, random numbers and the granted network
/// access. Files and environment are present but empty, for toolchains that always import them.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<PublisherData>> {
    let mut linker = Linker::new(engine);
    log::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |caller: &mut PublisherData| {
        &mut caller.guest
    })?;
    types::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |caller: &mut PublisherData| {
        &mut caller.guest
    })?;
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    linker.allow_shadowing(true);
    ip_name_lookup::add_to_linker::<PublisherData, HasSockets>(&mut linker, sockets_view)?;
    tcp_create_socket::add_to_linker::<PublisherData, HasSockets>(&mut linker, sockets_view)?;
    udp_create_socket::add_to_linker::<PublisherData, HasSockets>(&mut linker, sockets_view)?;
    texts::add_to_linker(&mut linker)?;
    linker.allow_shadowing(false);
    Ok(linker)
}
