//! The live view of the demo: a table that is drawn over itself on a terminal, a line per sample
//! elsewhere.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::interval;

use super::output;
use super::table;
use nephometer_model::{Sample, clean};
use nephometer_pipeline::SinkOutput;

/// How often the table is drawn.
const DRAW: Duration = Duration::from_millis(500);
/// Lines that are assumed where the terminal does not say how many it has.
const LINES: usize = 24;

/// Shows emissions until there are no more.
pub(super) async fn show(emissions: mpsc::Receiver<SinkOutput>) -> io::Result<()> {
    if io::stdout().is_terminal() { redraw(emissions).await } else { lines(emissions).await }
}

async fn lines(mut emissions: mpsc::Receiver<SinkOutput>) -> io::Result<()> {
    while let Some(emission) = emissions.recv().await {
        let mut out = output::stdout();
        for sample in &emission.samples {
            let [sink, meter, resource, volume, unit, time] = row(&emission.sink, sample);
            writeln!(out, "{time} {sink} {meter} {volume} {unit} {resource}")?;
        }
        out.flush()?;
    }
    Ok(())
}

/// As the cells are drawn by ourselves, they are made harmless here.
fn row(sink: &str, sample: &Sample) -> [String; 6] {
    table::row(sink, sample).map(|cell| clean(&cell))
}

/// The newest value of every meter of every resource, and how many samples there have been.
#[derive(Default)]
struct View {
    newest: BTreeMap<(String, String, String), [String; 6]>,
    samples: usize,
}

async fn redraw(mut emissions: mpsc::Receiver<SinkOutput>) -> io::Result<()> {
    let mut view = View::default();
    let mut draw = interval(DRAW);
    // What the terminal showed before scrolls away instead of shining through.
    output::terminal().write_all(b"\x1b[2J")?;
    loop {
        tokio::select! {
            emission = emissions.recv() => match emission {
                Some(emission) => view.take(&emission),
                None => return view.draw(),
            },
            _ = draw.tick() => view.draw()?,
        }
    }
}

impl View {
    fn take(&mut self, emission: &SinkOutput) {
        self.samples += emission.samples.len();
        for sample in &emission.samples {
            let cells = row(&emission.sink, sample);
            let key = (cells[0].clone(), cells[1].clone(), cells[2].clone());
            self.newest.insert(key, cells);
        }
    }

    fn draw(&self) -> io::Result<()> {
        let size = rustix::termios::tcgetwinsize(rustix::stdio::stdout());
        let (lines, columns) = size.map_or((LINES, 80), |size| {
            (usize::from(size.ws_row).max(4), usize::from(size.ws_col).max(20))
        });
        let mut out = output::terminal();
        // Home, then every line is cleared to its end, so that nothing flickers.
        write!(out, "\x1b[H")?;
        let room = lines - 3;
        for [sink, meter, resource, volume, unit, time] in self.newest.values().take(room) {
            let text = format!("{meter:<32} {volume:>16} {unit:<10} {time:<26} {sink} {resource}");
            let text: String = text.chars().take(columns).collect();
            writeln!(out, "{text}\x1b[K")?;
        }
        let hidden = self.newest.len().saturating_sub(room);
        writeln!(out, "\x1b[J{} samples published, {hidden} more series", self.samples)?;
        out.flush()
    }
}
