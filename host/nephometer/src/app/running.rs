//! The components that run now.

use std::collections::HashSet;
use std::sync::Arc;

use nephometer_wasm::{ComponentHost, ListedComponent};

/// The components with their counters. While one replaces another at its place, only the newer one.
pub(crate) fn running_components(host: &ComponentHost) -> Vec<ListedComponent> {
    let mut listed = host.list_components();
    let mut seen = HashSet::new();
    listed.reverse();
    listed.retain(|one| seen.insert((Arc::clone(&one.location), Arc::clone(&one.component))));
    listed.sort_by(|one, other| one.location.cmp(&other.location));
    listed
}
