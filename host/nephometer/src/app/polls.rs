//! The poll tasks of a running agent: one per interval, replaced when its sources change.

use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::AppError;
use super::tasks::TaskSet;
use nephometer_config::SourceSpec;
use nephometer_libvirt::hypervisor::{HypervisorError, Pace};
use nephometer_libvirt::poll::{self, PollContext, PollSchedule, PollTask};
use nephometer_model::Polled;
use nephometer_telemetry::{Heartbeats, TaskCpu};

/// All poll tasks.
pub(super) struct PollTasks {
    context: PollContext,
    pace: Pace,
    schedule: PollSchedule,
    /// `None` after [`Self::stop`].
    batches: Option<mpsc::Sender<Polled>>,
    groups: Vec<PollGroup>,
    tasks: TaskSet<Result<(), HypervisorError>>,
}

/// The sources of one interval, polled by one task.
struct PollGroup {
    interval: Duration,
    sources: Vec<SourceSpec>,
    stop: watch::Sender<bool>,
}

impl PollTasks {
    /// Starts no task yet.
    pub(super) fn new(
        (context, pace, schedule): (PollContext, Pace, PollSchedule),
        batches: mpsc::Sender<Polled>,
        (heartbeats, cpu): (&Heartbeats, TaskCpu),
    ) -> Self {
        let (groups, tasks) = (Vec::new(), TaskSet::new(heartbeats, cpu));
        Self { context, pace, schedule, batches: Some(batches), groups, tasks }
    }

    /// Polls these sources from now on. Tasks of unchanged intervals continue. The others are
    /// replaced: the running cycle ends, and the new task begins with a cycle at once.
    pub(super) fn set_sources(&mut self, sources: &[SourceSpec]) {
        let Some(batches) = &self.batches else { return };
        let mut replaced = std::mem::take(&mut self.groups);
        for (interval, sources) in poll::group_by_interval(sources, self.pace) {
            let unchanged = replaced
                .iter()
                .position(|group| group.interval == interval && group.sources == sources);
            if let Some(unchanged) = unchanged {
                self.groups.push(replaced.swap_remove(unchanged));
                continue;
            }
            let (stop, stopped) = watch::channel(false);
            let task = PollTask::new(self.context.clone(), interval, &sources);
            self.tasks.spawn(
                format!("poll every {interval:?}"),
                task.run(self.schedule, stopped, batches.clone()),
            );
            self.groups.push(PollGroup { interval, sources, stop });
        }
        for group in replaced {
            group.stop.send_replace(true);
        }
    }

    /// Waits until a task ends. `None` if no task is left.
    pub(super) async fn join_next(&mut self) -> Option<Result<(), AppError>> {
        let (name, result) = self.tasks.join_next().await?;
        let result = result.map_err(|source| AppError::Task { name, source });
        Some(result.and_then(|polled| Ok(polled?)))
    }

    /// Lets running cycles finish and starts no others.
    pub(super) fn stop(&mut self) {
        for group in &self.groups {
            group.stop.send_replace(true);
        }
        self.batches = None;
    }

    /// Aborts all tasks.
    pub(super) async fn shutdown(&mut self) {
        self.tasks.shutdown().await;
    }
}
