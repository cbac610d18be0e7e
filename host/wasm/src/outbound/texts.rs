//! Bounds the texts of outgoing HTTP requests. wasmtime-wasi-http accepts them at any length, and
//! they would occupy the agent's memory per request.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::http::types::{HostOutgoingRequest, Method};
use wasmtime_wasi_http::p2::types::HostOutgoingRequest as Request;

use super::caller::PublisherData;
use nephometer_model::Bound;

/// The interface as named by wasmtime-wasi-http. A test checks that the replaced functions exist.
const TYPES: &str = "wasi:http/types@0.2.12";
const METHOD: &str = "[method]outgoing-request.set-method";
const AUTHORITY: &str = "[method]outgoing-request.set-authority";
const PATH: &str = "[method]outgoing-request.set-path-with-query";

/// Result of these functions: set, or refused.
type SetResult = wasmtime::Result<(Result<(), ()>,)>;
type Store<'a> = StoreContextMut<'a, PublisherData>;

/// Replaces the functions that take texts with ones that check the length first.
pub(super) fn add_to_linker(linker: &mut Linker<PublisherData>) -> wasmtime::Result<()> {
    let mut types = linker.instance(TYPES)?;
    types.func_wrap(METHOD, set_method)?;
    types.func_wrap(AUTHORITY, set_authority)?;
    types.func_wrap(PATH, set_path)
}

fn set_method(mut store: Store<'_>, (to, method): (Resource<Request>, Method)) -> SetResult {
    let caller = store.data_mut();
    let length = if let Method::Other(name) = &method { name.len() } else { 0 };
    set_bounded(caller, length, |caller| {
        HostOutgoingRequest::set_method(&mut caller.http(), to, method)
    })
}

fn set_authority(
    mut store: Store<'_>,
    (to, text): (Resource<Request>, Option<String>),
) -> SetResult {
    let length = text.as_ref().map_or(0, String::len);
    set_bounded(store.data_mut(), length, |caller| {
        HostOutgoingRequest::set_authority(&mut caller.http(), to, text)
    })
}

fn set_path(mut store: Store<'_>, (to, text): (Resource<Request>, Option<String>)) -> SetResult {
    let length = text.as_ref().map_or(0, String::len);
    set_bounded(store.data_mut(), length, |caller| {
        HostOutgoingRequest::set_path_with_query(&mut caller.http(), to, text)
    })
}

fn set_bounded(
    caller: &mut PublisherData,
    length: usize,
    set: impl FnOnce(&mut PublisherData) -> wasmtime::Result<Result<(), ()>>,
) -> SetResult {
    if !caller.access.refusals.allow(Bound::HttpTexts, length) {
        return Ok((Err(()),));
    }
    Ok((set(caller)?,))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaced_functions_exist_in_wasi_http() {
        let engine = wasmtime::Engine::default();
        let mut linker = Linker::<PublisherData>::new(&engine);
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker).unwrap();
        let mut types = linker.instance(TYPES).unwrap();
        for linked_again in [
            types.func_wrap(METHOD, set_method),
            types.func_wrap(AUTHORITY, set_authority),
            types.func_wrap(PATH, set_path),
        ] {
            assert!(linked_again.is_err(), "function does not exist");
        }
    }
}
