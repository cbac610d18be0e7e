//! Read access to the stored gaps, for the commands that list them.

use std::sync::Arc;

use super::backend::Backend;
use super::gap_tables;
use nephometer_model::Gap;

/// The stored gaps. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Gaps(pub(super) Arc<Backend>);

impl Gaps {
    /// All gaps, ordered by when they began; none without a disk.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn all(&self) -> Result<Vec<Gap>, String> {
        if !self.0.is_durable() {
            return Ok(Vec::new());
        }
        self.0.read(|disk| gap_tables::all(&disk.begin_read()?)).await
    }
}
