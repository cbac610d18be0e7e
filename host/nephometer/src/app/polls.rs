//! The poll tasks of a running agent: one for each interval, replaced when its sources change.

use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::AppError;
use super::tasks::Tasks;
use nephometer_config::SourceSpec;
use nephometer_libvirt::hypervisor::{HypervisorError, Pace};
use nephometer_libvirt::poll::{self, PollContext, PollSchedule, PollTask};
use nephometer_model::Polled;

/// All of them.
pub(super) struct Polls {
    context: PollContext,
    pace: Pace,
    rounds: PollSchedule,
    /// `None` once no more batches are wanted.
    batches: Option<mpsc::Sender<Polled>>,
    groups: Vec<Group>,
    tasks: Tasks<Result<(), HypervisorError>>,
}

struct Group {
    interval: Duration,
    sources: Vec<SourceSpec>,
    stop: watch::Sender<bool>,
}

impl Polls {
    /// None yet.
    pub(super) fn new(
        context: PollContext,
        pace: Pace,
        rounds: PollSchedule,
        batches: mpsc::Sender<Polled>,
    ) -> Self {
        let (groups, tasks) = (Vec::new(), Tasks::default());
        Self { context, pace, rounds, batches: Some(batches), groups, tasks }
    }

    /// Polls these sources from now on. Intervals of which nothing changed go on as they are; the
    /// others begin with a tick at once, after the one that is under way.
    pub(super) fn set(&mut self, sources: &[SourceSpec]) {
        let Some(batches) = &self.batches else { return };
        let mut before = std::mem::take(&mut self.groups);
        for (interval, sources) in poll::group_by_interval(sources, self.pace) {
            let same = before
                .iter()
                .position(|group| group.interval == interval && group.sources == sources);
            if let Some(same) = same {
                self.groups.push(before.swap_remove(same));
                continue;
            }
            let (stop, stopped) = watch::channel(false);
            let task = PollTask::new(self.context.clone(), interval, &sources);
            self.tasks.spawn(
                format!("poll every {interval:?}"),
                task.run(self.rounds, stopped, batches.clone()),
            );
            self.groups.push(Group { interval, sources, stop });
        }
        for group in before {
            group.stop.send_replace(true);
        }
    }

    /// Waits for the next task that ends; `None` when all have.
    pub(super) async fn ended(&mut self) -> Option<Result<(), AppError>> {
        let (name, ended) = self.tasks.next().await?;
        let ended = ended.map_err(|source| AppError::Task { name, source });
        Some(ended.and_then(|polled| Ok(polled?)))
    }

    /// Lets the ticks that are under way come to their end, and no others begin.
    pub(super) fn stop(&mut self) {
        for group in &self.groups {
            group.stop.send_replace(true);
        }
        self.batches = None;
    }

    /// Ends them at once.
    pub(super) async fn shutdown(&mut self) {
        self.tasks.shutdown().await;
    }
}
