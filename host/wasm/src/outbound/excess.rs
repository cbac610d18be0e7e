//! Maps traps caused by full tables of wasmtime to the agent's bounds.

use wasmtime::component::ResourceTableError;
use wasmtime_wasi_http::FieldMapError;

use nephometer_model::{Bound, Exceeded};

/// wasmtime's text for too many handles; there is no error type for it.
const TOO_MANY_HANDLES: &str = "store handle limit exceeded";

/// The bound whose enforcement by wasmtime ended the call, if one did.
pub(crate) fn exceeded(error: &wasmtime::Error) -> Option<Exceeded> {
    let cause = error.root_cause();
    let bound = if let Some(ResourceTableError::Full) = cause.downcast_ref() {
        Bound::Resources
    } else if let Some(FieldMapError::TotalSizeTooBig) = cause.downcast_ref() {
        Bound::HttpFields
    } else if cause.to_string().contains(TOO_MANY_HANDLES) {
        Bound::Handles
    } else {
        return None;
    };
    Some(Exceeded { bound, amount: bound.most() + 1 })
}
