//! `grants` of a component: what it may reach.

use super::{Check, Unknown};
use crate::config::grant::Grant;
use crate::config::raw::{Field, Kind, RawGrants};

/// The entries of `connect`. `None` with a fault for each that cannot be read.
pub(super) fn check(
    check: &mut Check<'_>,
    at: &str,
    field: Field<RawGrants>,
) -> Option<Vec<Grant>> {
    const RIGHT: &str = "write a list such as [\"influx.lan:8086\", \"10.0.0.0/8:8086\"]";
    let raw = check.mapping(at, field)?;
    check.keys(at, &["connect"], Unknown::Refused(&[]));
    let pointer = format!("{at}/connect");
    let entries = match (&raw.connect, check.kind(&pointer)) {
        (Field::Absent | Field::Null, _) => return Some(Vec::new()),
        (Field::Given(entries), Kind::List) => entries,
        _ => {
            check.wrong(&pointer, RIGHT);
            return None;
        }
    };
    let mut granted = Vec::new();
    for (inner, text) in check.texts(&pointer, entries) {
        match text.parse::<Grant>() {
            Ok(grant) => granted.push(grant),
            Err(reason) => {
                check.fault(&inner, format!("{text:?} is no grant: {reason}"), "write HOST:PORT");
            }
        }
    }
    (granted.len() == entries.len()).then_some(granted)
}
