//! How others talk to a sink.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::revision::{ChainRevision, Snapshot};
use crate::publish::PublisherHandle;
use crate::transform::{Identity, JournaledBatch};
use nephometer_config::PublisherSpec;
use nephometer_model::{Offset, Sample};

/// Commands that wait for a sink: there is one who reloads, and people at a terminal.
const COMMANDS: usize = 8;

/// The publishers of a sink, in their order.
pub type Publishers = Vec<(PublisherSpec, PublisherHandle)>;

/// What changes them.
type Change = Box<dyn FnOnce(&mut Publishers) + Send>;

/// What can be asked of a sink. It obeys between two batches.
pub(super) enum Command {
    Snapshot {
        /// Whether what comes is kept for a take-over.
        follow: bool,
        reply: oneshot::Sender<Snapshot>,
    },
    /// Nothing has to be kept any more.
    Abandon,
    Takeover {
        revision: Box<ChainRevision>,
        finish: bool,
        reply: oneshot::Sender<Takeover>,
    },
    Publishers(Change),
    Inject {
        slot: usize,
        samples: Vec<Sample>,
        reply: oneshot::Sender<Result<usize, String>>,
    },
    Hold {
        reason: String,
    },
    End,
}

/// What became of an attempt to take over.
pub enum Takeover {
    /// The new generation is at work. How long no batch was worked on for it.
    Done(Duration),
    /// These came in between; the generation is given back to run them.
    Behind(Box<ChainRevision>, Vec<JournaledBatch>),
    /// Too much came in between to be kept: start anew from another base.
    Stale(Box<ChainRevision>),
    /// It failed on what came in between, or the sink is gone.
    Failed(String),
}

/// Something that a sink decided by itself.
#[derive(Debug)]
pub enum SinkEvent {
    /// The generation before took over again, because the new one failed.
    RolledBack {
        /// The sink.
        sink: Arc<str>,
        /// What failed.
        failed: Vec<Identity>,
        /// What is at work again.
        back: Vec<Identity>,
        /// How it failed.
        reason: String,
    },
}

/// What a sink is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SinkState {
    /// Its transformers are being made, such as compiled. Batches are held.
    Preparing,
    /// Its transformers cannot be made. Batches are held.
    Waiting(String),
    /// It works.
    Running,
    /// A transformer fails; what becomes of batches is what `on_error` says.
    Failing(String),
    /// A transformer failed so often that it is only tried from time to time.
    Quarantined(String),
}

impl SinkState {
    /// The word for it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Preparing => "preparing",
            Self::Waiting(_) => "held",
            Self::Running => "running",
            Self::Failing(_) => "failing",
            Self::Quarantined(_) => "quarantined",
        }
    }

    /// Why it is not running.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Running | Self::Preparing => None,
            Self::Waiting(reason) | Self::Failing(reason) | Self::Quarantined(reason) => {
                Some(reason)
            }
        }
    }
}

/// What is to be known of a sink.
#[derive(Debug, Clone)]
pub struct SinkStatus {
    /// What it is doing.
    pub state: SinkState,
    /// Its transformers at work, in order.
    pub slots: Vec<Identity>,
    /// The last batch that it worked on.
    pub offset: Offset,
    /// All before and with this one has been settled by all publishers.
    pub emitted: Offset,
    /// Where the state on disk was saved.
    pub saved: Offset,
    /// Generations that took over since the agent started.
    pub reloads: u64,
    /// How often the generation before came back.
    pub rollbacks: u64,
    /// Whether the generation before can still come back.
    pub can_roll_back: bool,
}

/// Talks to one sink. All answers are `None` once the sink is gone.
#[derive(Clone)]
pub struct SinkHandle {
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<SinkStatus>,
}

/// The other end.
pub(super) struct Inbox {
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) status: watch::Sender<SinkStatus>,
}

pub(super) fn handle(state: SinkState) -> (SinkHandle, Inbox) {
    let (sender, commands) = mpsc::channel(COMMANDS);
    let first = SinkStatus {
        state,
        slots: Vec::new(),
        offset: 0,
        emitted: 0,
        saved: 0,
        reloads: 0,
        rollbacks: 0,
        can_roll_back: false,
    };
    let (status, watched) = watch::channel(first);
    (SinkHandle { commands: sender, status: watched }, Inbox { commands, status })
}

impl SinkHandle {
    /// What it is doing now.
    pub fn status(&self) -> SinkStatus {
        self.status.borrow().clone()
    }

    /// Whether it has transformers to work with, or is to begin with some.
    pub fn has_transformers(&self) -> bool {
        !matches!(self.status.borrow().state, SinkState::Waiting(_) | SinkState::Preparing)
    }

    /// Waits until its transformers have been made, or it is known that they cannot be.
    pub async fn prepared(&self) {
        let mut status = self.status.clone();
        // An error says that the sink has ended.
        drop(status.wait_for(|status| status.state != SinkState::Preparing).await);
    }

    /// What a new generation starts from. From then on the sink keeps what comes, for
    /// [`Self::take_over`], until one has taken over or [`Self::abandon`] says that none will.
    pub async fn snapshot(&self) -> Option<Snapshot> {
        self.ask(|reply| Command::Snapshot { follow: true, reply }).await
    }

    /// What a new generation would start from. Nothing is kept for it.
    pub async fn look(&self) -> Option<Snapshot> {
        self.ask(|reply| Command::Snapshot { follow: false, reply }).await
    }

    /// No generation will take over from the base that was given last.
    pub async fn abandon(&self) {
        // A sink that has ended keeps nothing.
        drop(self.commands.send(Command::Abandon).await);
    }

    /// Hands a generation over that has caught up. With `finish` the sink itself runs what is
    /// missing, for generations that never quite catch up.
    pub async fn take_over(&self, revision: ChainRevision, finish: bool) -> Takeover {
        let revision = Box::new(revision);
        let asked = self.ask(|reply| Command::Takeover { revision, finish, reply }).await;
        asked.unwrap_or_else(|| Takeover::Failed("the sink has ended".to_owned()))
    }

    /// Changes the publishers, between two batches.
    pub async fn publishers(&self, change: impl FnOnce(&mut Publishers) + Send + 'static) {
        // A sink that has ended has no publishers to change.
        drop(self.commands.send(Command::Publishers(Box::new(change))).await);
    }

    /// Runs rows from a stage on, once, and publishes what comes out. How many samples that was.
    pub async fn inject(&self, slot: usize, samples: Vec<Sample>) -> Result<usize, String> {
        let asked = self.ask(|reply| Command::Inject { slot, samples, reply }).await;
        asked.unwrap_or_else(|| Err("the sink has ended".to_owned()))
    }

    /// Says why a sink that waits for its transformers has to go on waiting.
    pub async fn hold(&self, reason: String) {
        // A sink that has ended waits for nothing.
        drop(self.commands.send(Command::Hold { reason }).await);
    }

    /// Nothing more will come: a sink that cannot work off what it has ends with it.
    pub async fn end(&self) {
        // It has ended already.
        drop(self.commands.send(Command::End).await);
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.ok()?;
        answer.await.ok()
    }
}
