//! The handle of a sink: its status, and the commands that a reload or an operator sends to it.
//!
//! Commands are handled between two batches, or while a batch is pending. Nothing here touches a
//! chain or a publisher; `commands.rs` does, in the task of the sink.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::guard_report::GuardReport;
use super::revision::{ChainRevision, Snapshot};
use crate::publish::PublisherHandle;
use crate::transform::{Identity, JournaledBatch, ShadowFeed, State};
use nephometer_config::PublisherSpec;
use nephometer_model::{Offset, Sample};

/// Capacity of a sink's inbox. Senders are the one reload in progress and operators.
const INBOX_CAPACITY: usize = 8;

/// The publishers of a sink, in the configured order.
pub type Publishers = Vec<(PublisherSpec, PublisherHandle)>;

/// Adds, replaces or removes publishers.
type PublisherChange = Box<dyn FnOnce(&mut Publishers) + Send>;

/// A command to a sink.
pub(super) enum Command {
    Snapshot {
        /// Whether batches are logged from now on, for a revision that will take over.
        start_log: bool,
        reply: oneshot::Sender<Snapshot>,
    },
    /// Drops the catch-up log.
    AbandonTakeover,
    Takeover {
        revision: Box<ChainRevision>,
        finish: bool,
        guard: Option<GuardReport>,
        reply: oneshot::Sender<Takeover>,
    },
    Publishers(PublisherChange),
    AttachShadow {
        live: Identity,
        feed: ShadowFeed,
        reply: oneshot::Sender<Result<Option<State>, String>>,
    },
    Inject {
        transformer_index: usize,
        samples: Vec<Sample>,
        reply: oneshot::Sender<Result<usize, String>>,
    },
    RollBack {
        reason: String,
    },
    Hold {
        reason: String,
    },
    ShutDown,
}

/// The outcome of [`SinkHandle::take_over`].
pub enum Takeover {
    /// The new revision is running. The duration is how long the sink processed no batch for it.
    Done(Duration),
    /// The revision is returned with the batches that it has not processed yet.
    Behind(Box<ChainRevision>, Vec<JournaledBatch>),
    /// The catch-up log is incomplete: the revision has to start from a new snapshot.
    Stale(Box<ChainRevision>),
    /// The revision failed on a batch of the catch-up log, or the sink has ended.
    Failed(String),
}

/// An event that a sink raises on its own.
#[derive(Debug)]
pub enum SinkEvent {
    /// A guard ended without a rollback; its report has the result.
    GuardEnded {
        /// The sink's name.
        sink: Arc<str>,
    },
    /// The new revision failed, or went beyond the bounds of its guard, and the rollback candidate is
    /// running again.
    RolledBack {
        /// The sink's name.
        sink: Arc<str>,
        /// Transformers of the revision that failed.
        failed: Vec<Identity>,
        /// Transformers of the revision that is running again.
        restored: Vec<Identity>,
        /// The failure.
        reason: String,
        /// What was compared meanwhile, if the change was guarded.
        guard: Option<GuardReport>,
    },
}

/// The state of a sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SinkState {
    /// Its transformers are being built, which may include compiling. Batches wait in the journal.
    Preparing,
    /// Its transformers cannot be built, for this reason. Batches wait in the journal.
    Waiting(String),
    /// Batches are processed.
    Running,
    /// A transformer fails. `on_error` decides on its batches.
    Failing(String),
    /// A transformer failed too often and is only tried from time to time.
    Quarantined(String),
}

impl SinkState {
    /// The state as `status` reports it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Preparing => "preparing",
            Self::Waiting(_) => "held",
            Self::Running => "running",
            Self::Failing(_) => "failing",
            Self::Quarantined(_) => "quarantined",
        }
    }

    /// Why the sink does not run, if there is a reason to report.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Running | Self::Preparing => None,
            Self::Waiting(reason) | Self::Failing(reason) | Self::Quarantined(reason) => {
                Some(reason)
            }
        }
    }
}

/// The status of a sink.
#[derive(Debug, Clone)]
pub struct SinkStatus {
    /// Its state.
    pub state: SinkState,
    /// The running transformers, in order.
    pub transformers: Vec<Identity>,
    /// Offset of the last processed batch.
    pub offset: Offset,
    /// All publishers have acknowledged or persisted everything up to this offset.
    pub emitted: Offset,
    /// Offset of the state on disk.
    pub saved: Offset,
    /// Number of takeovers since the agent started.
    pub reloads: u64,
    /// Number of rollbacks since the agent started.
    pub rollbacks: u64,
    /// Whether there is a rollback candidate.
    pub can_roll_back: bool,
}

/// Sends commands to one sink. Requests return `None`, or an error, once the sink has ended.
#[derive(Clone)]
pub struct SinkHandle {
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<SinkStatus>,
}

/// The sink's end of a [`SinkHandle`].
pub(super) struct Inbox {
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) status: watch::Sender<SinkStatus>,
}

pub(super) fn handle(state: SinkState) -> (SinkHandle, Inbox) {
    let (sender, commands) = mpsc::channel(INBOX_CAPACITY);
    let initial = SinkStatus {
        state,
        transformers: Vec::new(),
        offset: 0,
        emitted: 0,
        saved: 0,
        reloads: 0,
        rollbacks: 0,
        can_roll_back: false,
    };
    let (status, receiver) = watch::channel(initial);
    (SinkHandle { commands: sender, status: receiver }, Inbox { commands, status })
}

impl SinkHandle {
    /// The current status.
    pub fn status(&self) -> SinkStatus {
        self.status.borrow().clone()
    }

    /// Whether the sink has transformers, or was created with some.
    pub fn has_transformers(&self) -> bool {
        !matches!(self.status.borrow().state, SinkState::Waiting(_) | SinkState::Preparing)
    }

    /// Waits until the transformers are built, or cannot be.
    pub async fn wait_until_prepared(&self) {
        let mut status = self.status.clone();
        // An error means that the sink has ended.
        drop(status.wait_for(|status| status.state != SinkState::Preparing).await);
    }

    /// Takes a snapshot for a new revision, and starts the catch-up log that [`Self::take_over`]
    /// needs. The log ends with a takeover or with [`Self::abandon_takeover`].
    pub async fn snapshot_for_takeover(&self) -> Option<Snapshot> {
        self.request(|reply| Command::Snapshot { start_log: true, reply }).await
    }

    /// Takes a snapshot and starts no catch-up log.
    pub async fn peek_snapshot(&self) -> Option<Snapshot> {
        self.request(|reply| Command::Snapshot { start_log: false, reply }).await
    }

    /// Drops the catch-up log: no revision will take over from the last snapshot.
    pub async fn abandon_takeover(&self) {
        // A sink that has ended has no log.
        drop(self.commands.send(Command::AbandonTakeover).await);
    }

    /// Replaces the running revision by one that has caught up. With `finish` the sink itself
    /// processes the missing batches, for revisions that never quite catch up. With `guard` the
    /// revision before runs on, and takes over again if the output goes beyond the bounds.
    pub async fn take_over(
        &self,
        revision: ChainRevision,
        finish: bool,
        guard: Option<&GuardReport>,
    ) -> Takeover {
        let (revision, guard) = (Box::new(revision), guard.cloned());
        let command = |reply| Command::Takeover { revision, finish, guard, reply };
        let reply = self.request(command).await;
        reply.unwrap_or_else(|| Takeover::Failed("the sink has stopped".to_owned()))
    }

    /// Changes the publishers, between two batches.
    pub async fn change_publishers(&self, change: impl FnOnce(&mut Publishers) + Send + 'static) {
        // A sink that has ended has no publishers to change.
        drop(self.commands.send(Command::Publishers(Box::new(change))).await);
    }

    /// Attaches a shadow to a transformer, between two batches. Returns the state of the transformer
    /// there, or why it cannot be had now; `None` if the sink has ended.
    pub(crate) async fn attach_shadow(
        &self,
        live: Identity,
        feed: ShadowFeed,
    ) -> Option<Result<Option<State>, String>> {
        self.request(|reply| Command::AttachShadow { live, feed, reply }).await
    }

    /// Runs samples through the chain from a transformer on, once, and publishes the output.
    /// Returns the number of published samples.
    ///
    /// # Errors
    /// If the sink has ended or has no transformers, a transformer fails, or its state cannot be
    /// saved.
    pub async fn inject(
        &self,
        transformer_index: usize,
        samples: Vec<Sample>,
    ) -> Result<usize, String> {
        let command = |reply| Command::Inject { transformer_index, samples, reply };
        let reply = self.request(command).await;
        reply.unwrap_or_else(|| Err("the sink has stopped".to_owned()))
    }

    /// Rolls a guarded revision back, because its components were rolled back elsewhere. No effect
    /// without a guard that compares.
    pub async fn roll_back(&self, reason: String) {
        // A sink that has ended guards nothing.
        drop(self.commands.send(Command::RollBack { reason }).await);
    }

    /// Reports why the transformers of a sink cannot be built. No effect on a sink that has some.
    pub async fn hold(&self, reason: String) {
        // A sink that has ended waits for nothing.
        drop(self.commands.send(Command::Hold { reason }).await);
    }

    /// Announces the end of the journal: a sink that cannot process the rest of it ends now.
    pub async fn shut_down(&self) {
        // It has ended already.
        drop(self.commands.send(Command::ShutDown).await);
    }

    async fn request<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (reply, response) = oneshot::channel();
        self.commands.send(command(reply)).await.ok()?;
        response.await.ok()
    }
}
