//! The connections of a listener: their number, and which one is closed when there are too many.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::task::{AbortHandle, JoinSet};

use super::exchange::ConnectionState;
use nephometer_telemetry::TaskCpu;
use nephometer_telemetry::events::http as events;

/// All open connections. Dropping it closes them.
pub(super) struct Connections {
    tasks: JoinSet<()>,
    /// Oldest first.
    open: VecDeque<(Arc<ConnectionState>, AbortHandle)>,
    most: usize,
    cpu: TaskCpu,
}

impl Connections {
    pub(super) fn new(most: usize, cpu: TaskCpu) -> Self {
        Self { tasks: JoinSet::new(), open: VecDeque::new(), most, cpu }
    }

    /// Makes room for one more: closes the oldest idle connection if there are too many. Returns
    /// `false` if all are busy.
    pub(super) fn make_room(&mut self) -> bool {
        self.open.retain(|(_, task)| !task.is_finished());
        if self.open.len() < self.most {
            return true;
        }
        match self.open.iter().position(|(state, _)| state.is_idle()) {
            Some(oldest) => {
                if let Some((_, task)) = self.open.remove(oldest) {
                    task.abort();
                }
                true
            }
            None => false,
        }
    }

    /// Runs a connection.
    pub(super) fn spawn(
        &mut self,
        state: Arc<ConnectionState>,
        connection: impl Future<Output = ()> + Send + 'static,
    ) {
        let task = self.tasks.spawn(self.cpu.measure(connection));
        self.open.push_back((state, task));
    }

    /// Waits for a future, and joins ended connections meanwhile.
    pub(super) async fn run_until<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                Some(ended) = self.tasks.join_next() => match ended {
                    // Its client sees a closed connection.
                    Err(error) if error.is_panic() => events::request_panicked(&error),
                    _ => {}
                },
            }
        }
    }

    /// Waits until all have ended.
    pub(super) async fn finish(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}
