//! The tasks of a running agent: starts them, waits for the first that ends, and drains them.

use std::sync::Arc;

use futures_util::future::join_all;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::listeners::Listeners;
use super::polls::PollTasks;
use super::supervisor::Change;
use super::tasks::{TaskFailure, TaskSet};
use super::{AppError, BackgroundTasks, CHANGES};
use nephometer_openstack::CloudSettings;
use nephometer_pipeline::publish::PublisherTask;
use nephometer_pipeline::{DrainedSink, SinkHandle};
use nephometer_telemetry::{Heartbeats, TaskTimes};

/// The tasks of a running agent, except the polls. A task that ends early ends the agent.
pub(super) struct RunningTasks {
    pub(super) router: TaskSet<()>,
    pub(super) sinks: TaskSet<DrainedSink>,
    /// One per publisher. The task of a removed publisher ends when its spool is empty.
    pub(super) publishers: TaskSet<()>,
    /// The supervisor and the control socket.
    pub(super) background: TaskSet<()>,
    /// The HTTP listeners.
    pub(super) listeners: TaskSet<()>,
}

impl RunningTasks {
    pub(super) fn new(heartbeats: &Heartbeats, times: &TaskTimes) -> Self {
        Self {
            router: TaskSet::new(heartbeats, times.part("router")),
            sinks: TaskSet::new(heartbeats, times.part("sinks")),
            publishers: TaskSet::new(heartbeats, times.part("publishers")),
            background: TaskSet::new(heartbeats, times.part("background")),
            listeners: TaskSet::new(heartbeats, times.part("listeners")),
        }
    }

    pub(super) fn spawn_publisher(&mut self, task: PublisherTask) {
        self.publishers.spawn(format!("publisher {}", task.label()), task.run());
    }

    /// Starts the background tasks. Returns the changes that the supervisor requests.
    pub(super) fn spawn_background(
        &mut self,
        tasks: Option<BackgroundTasks>,
    ) -> mpsc::Receiver<Change> {
        let Some(BackgroundTasks { supervisor, channels, admin, changes, control }) = tasks else {
            return mpsc::channel(CHANGES).1;
        };
        if let Some(control) = control {
            let serving = control.serve(move |request| {
                let admin = Arc::clone(&admin);
                async move { admin.handle(request).await }
            });
            self.background.spawn("control socket", serving);
        }
        self.background.spawn("supervisor", supervisor.run(channels));
        changes
    }

    /// Applies changes until all polls have ended, a task has failed, or `stop` is true.
    pub(super) async fn run_until_stopped(
        &mut self,
        (polls, listeners, cloud): (&mut PollTasks, &Listeners, Option<CloudSettings>),
        mut changes: mpsc::Receiver<Change>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), AppError> {
        loop {
            tokio::select! {
                biased;
                ended = polls.join_next() => match ended {
                    None => return Ok(()),
                    Some(ended) => ended?,
                },
                error = self.next_failure() => return Err(error),
                Some(change) = changes.recv() => match change {
                    Change::Sources(sources) => {
                        polls.set_sources(&sources);
                        listeners.set_sources(&sources);
                    }
                    Change::Publisher(task) => self.spawn_publisher(task),
                    Change::Secrets(spec) => {
                        listeners.set_tokens(&spec);
                        if let (Some(cloud), Some(new)) = (&cloud, &spec.discovery.nova) {
                            cloud.replace(new);
                        }
                    }
                },
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
            }
        }
    }

    /// Waits until a task fails. While the agent polls, only tasks of removed publishers may end.
    async fn next_failure(&mut self) -> AppError {
        let (name, failure) = loop {
            tokio::select! {
                Some((name, ended)) = self.router.join_next() => break (name, ended.err()),
                Some((name, ended)) = self.sinks.join_next() => break (name, ended.err()),
                Some((name, ended)) = self.background.join_next() => break (name, ended.err()),
                Some((name, ended)) = self.listeners.join_next() => break (name, ended.err()),
                Some((name, ended)) = self.publishers.join_next() => match ended {
                    Ok(()) => {}
                    Err(failure) => break (name, Some(failure)),
                },
                else => std::future::pending().await,
            }
        };
        AppError::Task { name, source: failure.unwrap_or(TaskFailure::EndedEarly) }
    }

    /// Drains from front to back: each part ends when the part before it has ended.
    pub(super) async fn drain(
        &mut self,
        polls: &mut PollTasks,
        handles: &[SinkHandle],
        drained_sinks: &mut Vec<DrainedSink>,
    ) -> Result<(), AppError> {
        while let Some(ended) = polls.join_next().await {
            ended?;
        }
        while let Some((name, ended)) = self.router.join_next().await {
            ended.map_err(|source| AppError::Task { name, source })?;
        }
        // Wait for components that are being compiled, not for those that cannot be used.
        join_all(handles.iter().map(SinkHandle::wait_until_prepared)).await;
        join_all(handles.iter().map(SinkHandle::shut_down)).await;
        while let Some((name, ended)) = self.sinks.join_next().await {
            drained_sinks.push(ended.map_err(|source| AppError::Task { name, source })?);
        }
        Ok(())
    }

    /// Lets the publishers empty their spools until the deadline. The rest is counted as pending.
    pub(super) async fn drain_publishers(&mut self, deadline: Instant) -> Result<(), AppError> {
        let mut delivered = Ok(());
        while let Ok(Some((name, ended))) =
            tokio::time::timeout_at(deadline, self.publishers.join_next()).await
        {
            delivered = delivered.and(ended.map_err(|source| AppError::Task { name, source }));
        }
        self.publishers.shutdown().await;
        delivered
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    fn running_tasks() -> RunningTasks {
        let mut running_tasks = RunningTasks::new(&Heartbeats::default(), &TaskTimes::default());
        running_tasks.router.spawn("router", pending());
        running_tasks.sinks.spawn("sink s", pending());
        running_tasks.publishers.spawn("publisher p", pending());
        running_tasks.background.spawn("supervisor", pending());
        running_tasks
    }

    fn name(error: AppError) -> (String, bool) {
        match error {
            AppError::Task { name, source } => (name, matches!(source, TaskFailure::EndedEarly)),
            error => panic!("{error}"),
        }
    }

    // Tasks were not joined: after a panic a publisher's spool filled up and reloads hung, while the
    // agent looked healthy.
    #[tokio::test]
    async fn a_task_that_panics_or_ends_early_ends_the_agent_with_its_name() {
        let mut panicking = running_tasks();
        panicking.publishers.spawn("publisher q", async { panic!("on purpose") });
        assert_eq!(name(panicking.next_failure().await), ("publisher q".to_owned(), false));
        let mut ending = running_tasks();
        ending.background.spawn("control socket", async {});
        assert_eq!(name(ending.next_failure().await), ("control socket".to_owned(), true));
    }

    // Ended tasks stayed in the set, one more with each change of a publisher.
    #[tokio::test]
    async fn ended_publisher_tasks_are_removed() {
        let mut running_tasks = running_tasks();
        let (fail, failing) = tokio::sync::oneshot::channel::<()>();
        let (last, last_ended) = tokio::sync::oneshot::channel::<()>();
        for number in 0..100 {
            running_tasks.publishers.spawn(format!("publisher {number}"), async {});
        }
        running_tasks.router.spawn("second router", async move { drop(failing.await) });
        running_tasks.publishers.spawn("publisher last", async move { last.send(()).unwrap() });
        let failure = running_tasks.next_failure();
        let failing = async move {
            drop(last_ended.await);
            tokio::task::yield_now().await;
            drop(fail);
        };
        let (error, ()) = tokio::join!(failure, failing);
        assert_eq!(name(error), ("second router".to_owned(), true));
        assert!(
            running_tasks.publishers.len() < 100,
            "{} tasks are left",
            running_tasks.publishers.len()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn draining_ends_at_its_deadline_and_names_a_panicked_task() {
        let mut running_tasks = running_tasks();
        running_tasks.publishers.spawn("publisher q", async { panic!("on purpose") });
        let deadline = Instant::now() + std::time::Duration::from_secs(5);
        let error = running_tasks.drain_publishers(deadline).await.unwrap_err();
        assert_eq!(name(error), ("publisher q".to_owned(), false));
        assert_eq!((Instant::now(), running_tasks.publishers.len()), (deadline, 0));
    }
}
