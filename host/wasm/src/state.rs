//! What an instance saved.

use std::sync::Arc;

/// What an instance saved: the host never looks into the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// `state-version` of the component that saved it.
    pub version: u32,
    /// In that version's format. Shared, because it may be large and several hold it.
    pub bytes: Arc<Vec<u8>>,
}
