//! How many samples a query may read.

use super::StoreError;

/// The samples that a query may still read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    most: u64,
    left: u64,
}

impl Budget {
    pub(crate) fn new(most: u64) -> Self {
        Self { most, left: most }
    }

    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    pub(crate) fn spend(&mut self, rows: u64) -> Result<(), StoreError> {
        self.left = self.left.checked_sub(rows).ok_or(StoreError::TooMuch(self.most))?;
        Ok(())
    }
}
