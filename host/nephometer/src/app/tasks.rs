//! Named tasks of the agent. Each task is joined, so that a panic or an early end is noticed.

use std::collections::HashMap;

use thiserror::Error;
use tokio::task::{Id, JoinError, JoinSet};

use nephometer_telemetry::{Heartbeats, TaskCpu};

/// Why a task that the agent needs has ended.
#[derive(Debug, Error)]
pub enum TaskFailure {
    /// The task panicked.
    #[error("it panicked")]
    Panicked(#[source] JoinError),
    /// The task returned while the agent still needed it.
    #[error("it ended unexpectedly")]
    EndedEarly,
}

/// A set of tasks with names.
pub(super) struct TaskSet<T> {
    running: JoinSet<T>,
    names: HashMap<Id, String>,
    heartbeats: Heartbeats,
    cpu: TaskCpu,
}

impl<T: Send + 'static> TaskSet<T> {
    /// A set whose tasks are watched, and whose processor time is counted.
    pub(super) fn new(heartbeats: &Heartbeats, cpu: TaskCpu) -> Self {
        let heartbeats = heartbeats.clone();
        Self { running: JoinSet::new(), names: HashMap::new(), heartbeats, cpu }
    }

    /// Starts a task.
    pub(super) fn spawn(
        &mut self,
        name: impl Into<String>,
        task: impl Future<Output = T> + Send + 'static,
    ) {
        let name = name.into();
        let id = self.running.spawn(self.heartbeats.watch(&name, self.cpu.measure(task))).id();
        self.names.insert(id, name);
    }

    /// What counts the processor time of its tasks, for tasks that they start.
    pub(super) fn cpu(&self) -> TaskCpu {
        self.cpu.clone()
    }

    /// Waits until a task ends. Returns its name and result; `None` if the set is empty.
    pub(super) async fn join_next(&mut self) -> Option<(String, Result<T, TaskFailure>)> {
        let (id, result) = match self.running.join_next_with_id().await? {
            Ok((id, output)) => (id, Ok(output)),
            Err(error) => (error.id(), Err(TaskFailure::Panicked(error))),
        };
        Some((self.names.remove(&id).unwrap_or_default(), result))
    }

    /// The number of tasks that have not been joined.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.running.len()
    }

    /// Aborts all tasks and waits for them.
    pub(super) async fn shutdown(&mut self) {
        self.running.shutdown().await;
        self.names.clear();
    }
}
