//! The tasks of the agent, in one place: each has a name, none of them ends unnoticed.

use std::collections::HashMap;

use thiserror::Error;
use tokio::task::{Id, JoinError, JoinSet};

/// Why a task is no more.
#[derive(Debug, Error)]
pub enum TaskFailure {
    /// It panicked.
    #[error("it panicked")]
    Panicked(#[source] JoinError),
    /// It came to its end while the agent still needs it.
    #[error("it ended unexpectedly")]
    EndedEarly,
}

/// Tasks of one kind, by name.
pub(super) struct Tasks<T> {
    running: JoinSet<T>,
    names: HashMap<Id, String>,
}

impl<T> Default for Tasks<T> {
    fn default() -> Self {
        Self { running: JoinSet::new(), names: HashMap::new() }
    }
}

impl<T: Send + 'static> Tasks<T> {
    /// Starts a task.
    pub(super) fn spawn(
        &mut self,
        name: impl Into<String>,
        task: impl Future<Output = T> + Send + 'static,
    ) {
        let id = self.running.spawn(task).id();
        self.names.insert(id, name.into());
    }

    /// Waits for the next one that ends: its name, and what it gave. `None` when there are none.
    pub(super) async fn next(&mut self) -> Option<(String, Result<T, TaskFailure>)> {
        let (id, ended) = match self.running.join_next_with_id().await? {
            Ok((id, gave)) => (id, Ok(gave)),
            Err(error) => (error.id(), Err(TaskFailure::Panicked(error))),
        };
        Some((self.names.remove(&id).unwrap_or_default(), ended))
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.running.len()
    }

    /// Ends them at once.
    pub(super) async fn shutdown(&mut self) {
        self.running.shutdown().await;
        self.names.clear();
    }
}
