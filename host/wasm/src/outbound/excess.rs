//! Traps for want of room in wasmtime's own tables, in the words of our bounds.

use wasmtime::component::ResourceTableError;
use wasmtime_wasi_http::FieldMapError;

use nephometer_model::{Bound, Exceeded};

/// How wasmtime says that there are too many handles; it has no type for it.
const TOO_MANY_HANDLES: &str = "store handle limit exceeded";

/// The bound that wasmtime enforces for us and that ended a call, if one did.
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
