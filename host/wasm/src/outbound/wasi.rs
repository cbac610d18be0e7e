//! What publishers may import.

use wasmtime::Engine;
use wasmtime::component::{HasSelf, Linker};
use wasmtime_wasi::p2::bindings::sockets::{ip_name_lookup, tcp_create_socket, udp_create_socket};

use super::caller::{Caller, bounded};
use super::sockets::SocketsInBounds;
use super::texts;
use crate::bindings::nephometer::metering::{log, types};
use crate::guest::Guest;

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
    ip_name_lookup::add_to_linker::<Caller, SocketsInBounds>(&mut linker, bounded)?;
    tcp_create_socket::add_to_linker::<Caller, SocketsInBounds>(&mut linker, bounded)?;
    udp_create_socket::add_to_linker::<Caller, SocketsInBounds>(&mut linker, bounded)?;
    texts::add_to_linker(&mut linker)?;
    linker.allow_shadowing(false);
    Ok(linker)
}
