//! `nephometer top`: a live view of a running agent, from its control socket.
//!
//! Asks once a second, and keeps the last picture while the agent is away.

mod tables;
mod view;

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, anyhow};
use clap::Args;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEvent, KeyEventKind};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use self::tables::{Snapshot, SnapshotChange};
use self::view::LiveView;
use super::ask::{Socket, text};
use super::run::{block_on, runtime};
use super::{Failure, output};
use crate::control::{self, ControlError, Request};
use nephometer_libvirt::schedule::Clock;
use nephometer_model::clean;

/// Time between two questions.
const REFRESH: Duration = Duration::from_secs(1);
/// How long an answer may take before the agent counts as away.
const ANSWER: Duration = Duration::from_secs(3);
/// Events of the terminal that wait. Its reader waits while there are more.
const EVENTS: usize = 16;

/// Show live what a running agent does
///
/// Domains, those with missing values first, sinks, components and publishers, with rates; once a second. Needs
/// a terminal. Keys: tab selects a table, left and right its order, r reverses it, up and down scroll, q ends. If
/// the agent is restarted, its last picture stays until it is back.
#[derive(Debug, Args)]
pub(super) struct Top {
    #[command(flatten)]
    socket: Socket,
}

impl Top {
    pub(super) fn execute(self) -> Result<()> {
        if !io::stdin().is_terminal() || !output::can_redraw() {
            let what =
                "top needs a terminal; `nephometer status` prints the same once, also as JSON";
            return Err(anyhow!(what).context(Failure::Usage));
        }
        let path = self.socket.path()?;
        // Without any agent this is an error, as with the other commands.
        let first = ask(&path)?;
        block_on(runtime()?, async {
            // A screen of its own, and the way back, also after a panic.
            let terminal = ratatui::try_init()?;
            let shown = show(terminal, path, first).await;
            ratatui::try_restore()?;
            Ok(shown?)
        })
    }
}

fn ask(path: &Path) -> Result<Snapshot, ControlError> {
    let status = control::send(path, &Request::Status)?;
    let components = control::send(path, &Request::ComponentStatus)?;
    let domains = control::send(path, &Request::Domains)?;
    Ok(Snapshot { status, components, domains })
}

/// What is known of the agent.
struct Watched {
    clock: Clock,
    now: (Snapshot, Instant),
    before: Option<(Snapshot, Instant)>,
    /// Since when, and why, it does not answer.
    away: Option<(String, String)>,
}

impl Watched {
    fn update(&mut self, answer: Result<Snapshot, String>) {
        match answer {
            Ok(snapshot) => {
                let now = (snapshot, Instant::now());
                let before = std::mem::replace(&mut self.now, now);
                let same = before.0.status["pid"] == self.now.0.status["pid"];
                // Counts of another process say nothing about a rate.
                self.before = (same && self.away.is_none()).then_some(before);
                self.away = None;
            }
            Err(reason) if self.away.is_none() => {
                self.away = Some((self.clock.now().wall.iso(), reason));
            }
            Err(_) => {}
        }
    }

    fn change(&self) -> SnapshotChange<'_> {
        let before = self.before.as_ref();
        let before = before.map(|(one, at)| (one, self.now.1.duration_since(*at)));
        SnapshotChange { now: &self.now.0, before }
    }

    fn titles(&self) -> Vec<String> {
        let status = &self.now.0.status;
        let polled = match self.change().polled() {
            Some(rate) => format!("{rate:.0} samples/s"),
            None => "measuring".to_owned(),
        };
        let time = self.clock.now().wall.iso();
        let time = time.split_once('.').map_or(time.as_str(), |(whole, _)| whole);
        let title = format!(
            "nephometer {}, pid {}, {polled}, {time} UTC",
            text(&status["version"]),
            status["pid"]
        );
        let away = self.away.as_ref().map(|(since, reason)| {
            let since = since.split_once('.').map_or(since.as_str(), |(whole, _)| whole);
            format!("agent away since {since}: {}", clean(reason))
        });
        [Some(title), away].into_iter().flatten().collect()
    }
}

async fn show(mut terminal: DefaultTerminal, path: PathBuf, first: Snapshot) -> io::Result<()> {
    let mut watched =
        Watched { clock: Clock::start(), now: (first, Instant::now()), before: None, away: None };
    let mut view = LiveView::new(output::is_coloured());
    let mut events = terminal_events();
    let mut answers = answers(path);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        terminal.draw(|frame| view.draw(frame, &watched.titles(), &watched.change()))?;
        tokio::select! {
            Some(answer) = answers.recv() => watched.update(answer),
            event = events.recv() => match event {
                Some(TerminalEvent::Key(key)) if !view.press(key, &watched.change()) => return Ok(()),
                Some(_) => {}
                // The end of the input ends the view, too.
                None => return Ok(()),
            },
            _ = terminate.recv() => return Ok(()),
            _ = hangup.recv() => return Ok(()),
        }
    }
}

/// What the terminal reports.
enum TerminalEvent {
    Key(KeyEvent),
    /// It has another size.
    Resized,
}

/// Reads what the terminal reports, on a thread of its own, which ends with the process.
fn terminal_events() -> mpsc::Receiver<TerminalEvent> {
    let (sender, receiver) = mpsc::channel(EVENTS);
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            let event = match event {
                Event::Key(key) if key.kind != KeyEventKind::Release => TerminalEvent::Key(key),
                Event::Resize(..) => TerminalEvent::Resized,
                _ => continue,
            };
            if sender.blocking_send(event).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Asks once a second. A question without an answer is not repeated before its connection is closed.
fn answers(path: PathBuf) -> mpsc::Receiver<Result<Snapshot, String>> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut refresh = interval(REFRESH);
        refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
        refresh.tick().await;
        loop {
            refresh.tick().await;
            let path = path.clone();
            let mut asking = tokio::task::spawn_blocking(move || ask(&path));
            let answer = match timeout(ANSWER, &mut asking).await {
                Ok(answer) => answer,
                Err(_) => {
                    let reason = format!("it did not answer within {ANSWER:?}");
                    if sender.send(Err(reason)).await.is_err() {
                        return;
                    }
                    asking.await
                }
            };
            let answer = match answer {
                Ok(answer) => answer.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            if sender.send(answer).await.is_err() {
                return;
            }
        }
    });
    receiver
}
