//! The saved state of an instance.

use std::sync::Arc;

/// The saved state of an instance. Opaque to the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// `state-version` of the component that saved it.
    pub version: u32,
    /// In the format of that version. Shared, because it may be large.
    pub bytes: Arc<Vec<u8>>,
}
