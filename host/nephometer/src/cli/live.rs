//! The live view of the demo: a table that is redrawn in place on a terminal, one line per sample
//! otherwise.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::interval;

use super::output;
use super::table;
use nephometer_model::{Sample, clean};
use nephometer_pipeline::SinkOutput;

/// The interval between redraws.
const REDRAW_INTERVAL: Duration = Duration::from_millis(500);
/// The number of lines if the size of the terminal is unknown.
const DEFAULT_LINES: usize = 24;

/// Shows outputs of sinks until the channel closes.
pub(super) async fn show(outputs: mpsc::Receiver<SinkOutput>) -> io::Result<()> {
    if io::stdout().is_terminal() { redraw(outputs).await } else { print_lines(outputs).await }
}

async fn print_lines(mut outputs: mpsc::Receiver<SinkOutput>) -> io::Result<()> {
    while let Some(part) = outputs.recv().await {
        let mut out = output::stdout();
        for sample in &part.samples {
            let [sink, meter, resource, volume, unit, time] = row(&part.sink, sample);
            writeln!(out, "{time} {sink} {meter} {volume} {unit} {resource}")?;
        }
        out.flush()?;
    }
    Ok(())
}

/// The cells of a sample, cleaned because this module writes to the terminal directly.
fn row(sink: &str, sample: &Sample) -> [String; 6] {
    table::row(sink, sample).map(|cell| clean(&cell))
}

/// The newest value of every meter of every resource, and the number of samples.
#[derive(Default)]
struct View {
    newest: BTreeMap<(String, String, String), [String; 6]>,
    samples: usize,
}

async fn redraw(mut outputs: mpsc::Receiver<SinkOutput>) -> io::Result<()> {
    let mut view = View::default();
    let mut draw = interval(REDRAW_INTERVAL);
    // Clears the screen.
    output::terminal().write_all(b"\x1b[2J")?;
    loop {
        tokio::select! {
            part = outputs.recv() => match part {
                Some(part) => view.add(&part),
                None => return view.draw(),
            },
            _ = draw.tick() => view.draw()?,
        }
    }
}

impl View {
    fn add(&mut self, part: &SinkOutput) {
        self.samples += part.samples.len();
        for sample in &part.samples {
            let cells = row(&part.sink, sample);
            let key = (cells[0].clone(), cells[1].clone(), cells[2].clone());
            self.newest.insert(key, cells);
        }
    }

    fn draw(&self) -> io::Result<()> {
        let size = rustix::termios::tcgetwinsize(rustix::stdio::stdout());
        let (lines, columns) = size.map_or((DEFAULT_LINES, 80), |size| {
            (usize::from(size.ws_row).max(4), usize::from(size.ws_col).max(20))
        });
        let mut out = output::terminal();
        // Moves home and clears each line to its end, which avoids flicker.
        write!(out, "\x1b[H")?;
        let visible = lines - 3;
        for [sink, meter, resource, volume, unit, time] in self.newest.values().take(visible) {
            let text = format!("{meter:<32} {volume:>16} {unit:<10} {time:<26} {sink} {resource}");
            let text: String = text.chars().take(columns).collect();
            writeln!(out, "{text}\x1b[K")?;
        }
        let hidden = self.newest.len().saturating_sub(visible);
        writeln!(out, "\x1b[J{} samples published, {hidden} more series", self.samples)?;
        out.flush()
    }
}
