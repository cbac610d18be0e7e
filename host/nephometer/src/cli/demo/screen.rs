//! Draws the picture: in place on a terminal, else now and then below what is there.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::interval;

use super::cloud::Cloud;
use super::picture::{self, Scene};
use crate::app::running_components;
use crate::cli::columns::Canvas;
use crate::cli::output;
use nephometer_pipeline::SinkOutput;
use nephometer_telemetry::Ledger;
use nephometer_wasm::{ComponentHost, ListedComponent};

/// The interval between redraws.
const REDRAW: Duration = Duration::from_millis(500);
/// Polling cycles between two pictures where nothing can be redrawn.
const CALM: u64 = 15;
/// Where the size of the terminal is unknown, and where there is none.
const DEFAULT: (usize, usize) = (80, 24);

/// What the picture is made of, besides samples.
pub(super) struct DemoScreen {
    pub(super) title: String,
    pub(super) collector: Option<String>,
    pub(super) next: Vec<(String, String)>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) host: ComponentHost,
    pub(super) listed: Mutex<Vec<ListedComponent>>,
}

impl DemoScreen {
    /// Shows outputs of sinks until the channel closes. Gives back what is known then.
    pub(super) async fn show(&self, outputs: mpsc::Receiver<SinkOutput>) -> io::Result<Cloud> {
        if output::can_redraw() { self.redraw(outputs).await } else { self.print(outputs).await }
    }

    /// Shows the last picture, which stays.
    pub(super) fn last(&self, cloud: &Cloud) -> io::Result<()> {
        if output::can_redraw() { self.draw(cloud) } else { self.write(cloud) }
    }

    async fn redraw(&self, mut outputs: mpsc::Receiver<SinkOutput>) -> io::Result<Cloud> {
        let mut cloud = Cloud::default();
        let mut draw = interval(REDRAW);
        let cursor = HiddenCursor::new()?;
        loop {
            tokio::select! {
                part = outputs.recv() => match part {
                    Some(part) => cloud.add(&part),
                    None => break,
                },
                _ = draw.tick() => self.draw(&cloud)?,
            }
        }
        drop(cursor);
        Ok(cloud)
    }

    fn draw(&self, cloud: &Cloud) -> io::Result<()> {
        let (columns, rows) = output::size().unwrap_or(DEFAULT);
        let (columns, rows) = (columns.max(20), rows.max(4));
        let canvas = Canvas { columns, rows, styled: output::is_coloured() };
        let mut left = rows - 1;
        let mut out = output::terminal();
        // Home; each line is cleared to its end, and what is below: this does not flicker.
        write!(out, "\x1b[H")?;
        for line in self.lines(cloud, canvas) {
            // A line too many would scroll the others away.
            let Some(below) = left.checked_sub(picture::height(&line, canvas)) else { break };
            left = below;
            writeln!(out, "{line}\x1b[K")?;
        }
        write!(out, "\x1b[J")?;
        out.flush()
    }

    async fn print(&self, mut outputs: mpsc::Receiver<SinkOutput>) -> io::Result<Cloud> {
        let mut cloud = Cloud::default();
        let mut shown = None;
        while let Some(part) = outputs.recv().await {
            let cycles = self.cycles();
            // The second cycle is the first with rates. When the third begins, all of it is there.
            let due = shown.map_or(cycles >= 3, |shown| cycles >= shown + CALM);
            if due {
                shown = Some(cycles);
                self.write(&cloud)?;
            }
            cloud.add(&part);
            // For the last picture, which is drawn when they have ended.
            drop(self.components());
        }
        Ok(cloud)
    }

    fn write(&self, cloud: &Cloud) -> io::Result<()> {
        let canvas = Canvas { columns: DEFAULT.0, rows: usize::MAX, styled: false };
        let mut out = output::stdout();
        for line in self.lines(cloud, canvas) {
            writeln!(out, "{line}")?;
        }
        writeln!(out)?;
        out.flush()
    }

    fn lines(&self, cloud: &Cloud, canvas: Canvas) -> Vec<String> {
        let title = format!(
            "{}; cycle {}{}, {} samples",
            self.title,
            self.cycles(),
            self.unhealthy(),
            cloud.samples
        );
        let scene = Scene {
            title: &title,
            cloud,
            ledger: &self.ledger,
            components: &self.components(),
            collector: self.collector.as_deref(),
            next: &self.next,
        };
        picture::lines(&scene, canvas)
    }

    /// The components; those that have run if the agent has ended.
    fn components(&self) -> Vec<ListedComponent> {
        let running = running_components(&self.host);
        let mut known = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        if !running.is_empty() {
            *known = running;
        }
        known.clone()
    }

    /// Machines without values, by reason.
    fn unhealthy(&self) -> String {
        let intervals = self.ledger.polling.intervals();
        let states = intervals.values().flat_map(|one| &one.domains);
        let unhealthy = states.filter(|(state, count)| **state != "healthy" && **count > 0);
        unhealthy.map(|(state, count)| format!(", {count} {state}")).collect()
    }

    /// Complete polling cycles.
    fn cycles(&self) -> u64 {
        self.ledger.polling.intervals().values().map(|one| one.cycles).max().unwrap_or(0)
    }
}

/// A cleared screen without a cursor. The cursor is back at the end, also after a panic.
struct HiddenCursor;

impl HiddenCursor {
    fn new() -> io::Result<Self> {
        let mut out = output::terminal();
        write!(out, "\x1b[2J\x1b[?25l")?;
        out.flush()?;
        Ok(Self)
    }
}

impl Drop for HiddenCursor {
    fn drop(&mut self) {
        let mut out = output::terminal();
        // A terminal that is gone has no cursor.
        drop(write!(out, "\x1b[?25h").and_then(|()| out.flush()));
    }
}
