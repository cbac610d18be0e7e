//! The service manager: reports to systemd that a program is ready, reloads or stops, its state in one
//! line, and by the watchdog whether it works.
//!
//! One thread sends everything, so that a service manager that does not read delays no task. Without
//! a `NOTIFY_SOCKET` there is no thread. The protocol is that of `sd_notify(3)`.

mod heartbeat;

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use crate::events::process as events;
pub use heartbeat::{Heartbeats, Watched};

/// Messages for the thread that wait. A reload takes longer than sending its messages.
const MESSAGES: usize = 16;
/// How often the state is reported if nothing else happens.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);
/// Rounds of the watchdog within its time.
const ROUNDS: u32 = 4;

/// Describes the state of the program in one line. Must not wait.
pub type StatusLine = Box<dyn Fn() -> String + Send>;

/// A message to the thread.
enum Notice {
    Ready(Heartbeats, StatusLine),
    Reloading(Option<i128>),
    Reloaded,
    Stopping,
    End,
}

/// The connection of a program to its service manager, if it has one.
#[derive(Clone, Default)]
pub struct Service(Option<SyncSender<Notice>>);

/// The thread of a [`Service`].
pub struct ServiceThread(Option<(SyncSender<Notice>, JoinHandle<()>)>);

impl Service {
    /// Starts the thread, if `supervised`: if the environment names a `NOTIFY_SOCKET`.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(supervised: bool) -> io::Result<(Self, ServiceThread)> {
        if !supervised {
            return Ok((Self(None), ServiceThread(None)));
        }
        let (sender, messages) = sync_channel(MESSAGES);
        let watchdog = sd_notify::watchdog_enabled();
        let thread = Builder::new().name("watchdog".to_owned());
        let thread = thread.spawn(move || Reporter::new(watchdog).run(&messages))?;
        Ok((Self(Some(sender.clone())), ServiceThread(Some((sender, thread)))))
    }

    /// All tasks have started. From now on the watchdog asks `heartbeats`.
    pub fn ready(&self, heartbeats: &Heartbeats, status: StatusLine) {
        self.send(Notice::Ready(heartbeats.clone(), status));
    }

    /// A reload begins. [`Service::reloaded`] follows.
    pub fn reloading(&self) {
        // The time of this moment, not that of the thread: the service manager compares it with the
        // time of its signal.
        let now = match NotifyState::monotonic_usec_now() {
            Ok(NotifyState::MonotonicUsec(now)) => Some(now),
            _ => None,
        };
        self.send(Notice::Reloading(now));
    }

    /// A reload has ended, applied or refused.
    pub fn reloaded(&self) {
        self.send(Notice::Reloaded);
    }

    /// The program ends.
    pub fn stopping(&self) {
        self.send(Notice::Stopping);
    }

    fn send(&self, message: Notice) {
        if let Some(sender) = &self.0
            && sender.try_send(message).is_err()
        {
            events::service_message_dropped();
        }
    }
}

impl ServiceThread {
    /// Sends what is left, and ends. Waits at most for the service manager.
    pub fn end(self) {
        if let Some((sender, thread)) = self.0
            && sender.send(Notice::End).is_ok()
        {
            // A panic of the thread is in the log.
            drop(thread.join());
        }
    }
}

/// What the thread knows.
struct Reporter {
    /// The time within which the watchdog has to be fed.
    watchdog: Option<Duration>,
    heartbeats: Option<Heartbeats>,
    status: Option<StatusLine>,
    last_status: String,
    /// The task for which the watchdog is not fed.
    stopped: Option<String>,
    /// Whether sending has failed, which is logged once.
    failing: bool,
}

impl Reporter {
    fn new(watchdog: Option<Duration>) -> Self {
        Self {
            watchdog,
            heartbeats: None,
            status: None,
            last_status: String::new(),
            stopped: None,
            failing: false,
        }
    }

    fn run(mut self, messages: &Receiver<Notice>) {
        let interval =
            self.watchdog.map_or(STATUS_INTERVAL, |time| STATUS_INTERVAL.min(time / ROUNDS));
        let mut next_round = Instant::now() + interval;
        loop {
            match messages.recv_timeout(next_round.saturating_duration_since(Instant::now())) {
                Ok(Notice::End) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(message) => self.handle(message),
                Err(RecvTimeoutError::Timeout) => {
                    self.round();
                    next_round = Instant::now() + interval;
                }
            }
        }
    }

    fn handle(&mut self, message: Notice) {
        match message {
            Notice::Ready(heartbeats, status) => {
                heartbeats.ask();
                self.heartbeats = Some(heartbeats);
                self.last_status = status();
                self.status = Some(status);
                let line = self.last_status.clone();
                self.notify(&[NotifyState::Ready, NotifyState::Status(&line)]);
            }
            Notice::Reloading(now) => {
                let mut states = vec![NotifyState::Reloading];
                states.extend(now.map(NotifyState::MonotonicUsec));
                self.notify(&states);
            }
            Notice::Reloaded => self.notify(&[NotifyState::Ready]),
            Notice::Stopping => self.notify(&[NotifyState::Stopping]),
            Notice::End => {}
        }
    }

    /// Feeds the watchdog if every task has answered in time, and reports a changed state.
    fn round(&mut self) {
        let Some(heartbeats) = &self.heartbeats else { return };
        let limit = self.watchdog.map(|time| time / 2);
        let stopped = heartbeats.ask().filter(|(_, age)| limit.is_some_and(|limit| *age > limit));
        match (&stopped, &self.stopped) {
            (Some((task, age)), None) => events::watchdog_withheld(task, *age),
            (None, Some(task)) => events::watchdog_fed_again(task),
            _ => {}
        }
        self.stopped = stopped.map(|(task, _)| task);
        if self.watchdog.is_some() && self.stopped.is_none() {
            self.notify(&[NotifyState::Watchdog]);
        }
        let line = match (&self.stopped, &self.status) {
            (Some(task), _) => format!("stopped: {task}"),
            (None, Some(status)) => status(),
            (None, None) => return,
        };
        if line != self.last_status {
            self.notify(&[NotifyState::Status(&line)]);
            self.last_status = line;
        }
    }

    fn notify(&mut self, states: &[NotifyState<'_>]) {
        match sd_notify::notify(states) {
            Ok(()) => self.failing = false,
            Err(error) => {
                if !self.failing {
                    events::service_manager_unreachable(&error);
                }
                self.failing = true;
            }
        }
    }
}
