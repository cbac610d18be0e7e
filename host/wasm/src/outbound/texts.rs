//! The texts of an outgoing HTTP request that wasmtime-wasi-http takes at any length: they would
//! stand in the agent's memory, as many as there are requests.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::http::types::{HostOutgoingRequest, Method};
use wasmtime_wasi_http::p2::types::HostOutgoingRequest as Request;

use super::caller::Caller;
use nephometer_model::Bound;

/// The interface by the name that wasmtime-wasi-http links it under. A test sees to it that the
/// functions there are those that are replaced here.
const TYPES: &str = "wasi:http/types@0.2.12";
const METHOD: &str = "[method]outgoing-request.set-method";
const AUTHORITY: &str = "[method]outgoing-request.set-authority";
const PATH: &str = "[method]outgoing-request.set-path-with-query";

/// What these functions answer: done, or not.
type Answer = wasmtime::Result<(Result<(), ()>,)>;
type Store<'a> = StoreContextMut<'a, Caller>;

/// Replaces the functions that take texts by ones that look at their length first.
pub(super) fn add_to_linker(linker: &mut Linker<Caller>) -> wasmtime::Result<()> {
    let mut types = linker.instance(TYPES)?;
    types.func_wrap(METHOD, set_method)?;
    types.func_wrap(AUTHORITY, set_authority)?;
    types.func_wrap(PATH, set_path)
}

fn set_method(mut store: Store<'_>, (to, method): (Resource<Request>, Method)) -> Answer {
    let caller = store.data_mut();
    let length = if let Method::Other(name) = &method { name.len() } else { 0 };
    answer(caller, length, |caller| HostOutgoingRequest::set_method(&mut caller.http(), to, method))
}

fn set_authority(mut store: Store<'_>, (to, text): (Resource<Request>, Option<String>)) -> Answer {
    let length = text.as_ref().map_or(0, String::len);
    answer(store.data_mut(), length, |caller| {
        HostOutgoingRequest::set_authority(&mut caller.http(), to, text)
    })
}

fn set_path(mut store: Store<'_>, (to, text): (Resource<Request>, Option<String>)) -> Answer {
    let length = text.as_ref().map_or(0, String::len);
    answer(store.data_mut(), length, |caller| {
        HostOutgoingRequest::set_path_with_query(&mut caller.http(), to, text)
    })
}

fn answer(
    caller: &mut Caller,
    length: usize,
    set: impl FnOnce(&mut Caller) -> wasmtime::Result<Result<(), ()>>,
) -> Answer {
    if !caller.access.refusals.allow(Bound::HttpTexts, length) {
        return Ok((Err(()),));
    }
    Ok((set(caller)?,))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_replaced_is_what_would_be_linked() {
        let engine = wasmtime::Engine::default();
        let mut linker = Linker::<Caller>::new(&engine);
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker).unwrap();
        let mut types = linker.instance(TYPES).unwrap();
        for twice in [
            types.func_wrap(METHOD, set_method),
            types.func_wrap(AUTHORITY, set_authority),
            types.func_wrap(PATH, set_path),
        ] {
            assert!(twice.is_err(), "it was not there before");
        }
    }
}
