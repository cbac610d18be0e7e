//! All that is missing, for people.

use std::sync::Arc;

use super::backend::Backend;
use super::gap_tables;
use nephometer_model::Gap;

/// All that is missing, for people. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Gaps(pub(super) Arc<Backend>);

impl Gaps {
    /// All that are kept, by when they began.
    pub async fn all(&self) -> Result<Vec<Gap>, String> {
        if !self.0.is_durable() {
            return Ok(Vec::new());
        }
        self.0.read(|disk| gap_tables::all(&disk.reading()?)).await
    }
}
