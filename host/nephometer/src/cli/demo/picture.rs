//! The picture of the demo as lines of text: machines, the pipeline, and what to try next.

use std::fmt;
use std::sync::atomic::Ordering::Relaxed;

use super::cloud::{Cloud, Machine, Quantity};
use crate::cli::columns::{self, BOLD, Canvas};
use nephometer_model::clean;
use nephometer_telemetry::Ledger;
use nephometer_wasm::{ComponentStats, ListedComponent};

/// The narrowest terminal that lines are made for; a narrower one cuts them.
const NARROW: usize = 80;
/// Columns of everything in a machine's row but the four sparklines.
const FIXED: usize = 62;
/// Rows from which on commands have a description; a smaller terminal shows machines instead.
const TALL: usize = 32;
/// The widest sparkline.
const SPARKLINE: usize = 24;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const DIM: &str = "\x1b[2m";

/// What the picture shows.
pub(super) struct Scene<'a> {
    pub(super) title: &'a str,
    pub(super) cloud: &'a Cloud,
    pub(super) ledger: &'a Ledger,
    pub(super) components: &'a [ListedComponent],
    /// The way through the collector, if there is one.
    pub(super) collector: Option<&'a str>,
    /// Commands to try next, each with what it does.
    pub(super) next: &'a [(String, String)],
}

/// Makes the lines, each at most as wide as the canvas.
pub(super) fn lines(scene: &Scene<'_>, canvas: Canvas) -> Vec<String> {
    let below = [pipeline(scene, canvas), next(scene, canvas)].concat();
    // Besides: the title, a heading with an empty line, and the line where the cursor stays.
    let used: usize = below.iter().map(|line| height(line, canvas)).sum();
    let room = canvas.rows.saturating_sub(used + 4).max(3);
    let mut lines = vec![canvas.fit(&clean(scene.title))];
    lines.extend(machines(scene.cloud, room, canvas));
    lines.extend(below);
    lines
}

/// The rows that a line takes: a command is not cut, and wraps. What has a style fits.
pub(super) fn height(line: &str, canvas: Canvas) -> usize {
    if line.contains('\x1b') { 1 } else { columns::width(line).div_ceil(canvas.columns).max(1) }
}

fn machines(cloud: &Cloud, room: usize, canvas: Canvas) -> Vec<String> {
    let spark = sparkline_width(canvas);
    let wide = |value: usize| value + 1 + spark;
    let heading = format!(
        "{:<12} {:<9}  {:<cpu$}  {:<bytes$}  {:<bytes$}  {}",
        "MACHINE",
        "PROJECT",
        "CPU",
        "MEMORY",
        "DISK /s",
        "NETWORK /s",
        cpu = wide(4),
        bytes = wide(8),
    );
    let mut lines = vec![String::new(), canvas.style(BOLD, &heading)];
    let total = cloud.machines().len();
    let shown = if total > room { room - 1 } else { total };
    lines.extend(cloud.machines().take(shown).map(|machine| row(machine, cloud, spark, canvas)));
    if total == 0 {
        lines.push(canvas.style(DIM, "waiting for the second polling cycle: rates need two"));
    }
    if total > shown {
        lines.push(canvas.style(DIM, &format!("and {} more", total - shown)));
    }
    lines
}

fn sparkline_width(canvas: Canvas) -> usize {
    (canvas.columns.max(NARROW).saturating_sub(FIXED) / 4).min(SPARKLINE)
}

fn row(machine: &Machine, cloud: &Cloud, spark: usize, canvas: Canvas) -> String {
    let mut line = format!("{} {}", cell(&machine.name, 12), cell(&machine.project, 9));
    for quantity in Quantity::ALL {
        let values = machine.values(quantity);
        let newest = values.newest(cloud.since());
        let text = match (quantity, newest) {
            (_, None) => "-".to_owned(),
            (Quantity::Processor, Some(percent)) => format!("{percent:.0}%"),
            (_, Some(bytes)) => bytes_text(bytes),
        };
        let most = match quantity {
            Quantity::Processor => 100.0,
            Quantity::Memory => machine.memory.unwrap_or_default(),
            Quantity::Disk | Quantity::Network => 0.0,
        };
        let width = if quantity == Quantity::Processor { 4 } else { 8 };
        let bars = sparkline(&values.last(spark).collect::<Vec<_>>(), most);
        line += &format!("  {text:>width$} {bars:<spark$}");
    }
    canvas.fit(line.trim_end())
}

/// One bar a value. The highest stands for `most`, or for the highest value if that is more.
fn sparkline(values: &[f64], most: f64) -> String {
    let most = values.iter().copied().fold(most, f64::max);
    let bar = |value: &f64| {
        let share = if most > 0.0 { value / most } else { 0.0 };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 7")]
        let index = (share.clamp(0.0, 1.0) * 7.0).round() as usize;
        BARS[index]
    };
    values.iter().map(bar).collect()
}

/// Bytes with a unit that fits, in at most eight characters.
fn bytes_text(bytes: f64) -> String {
    let mut value = bytes;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 999.5 {
            let digits = usize::from(value < 99.95 && unit != "B");
            return format!("{value:.digits$} {unit}");
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

fn pipeline(scene: &Scene<'_>, canvas: Canvas) -> Vec<String> {
    let heading = format!(
        "{:<14} {:<29} {:>14} {:>8} {:>9}",
        "SINK", "COMPONENT", "SAMPLES", "EACH", "MEMORY"
    );
    let mut lines = vec![String::new(), canvas.style(BOLD, &heading)];
    for component in scene.components {
        let stats = component.counters.stats();
        let sink = component.location.rsplit_once('/').map_or("", |(sink, _)| sink);
        let digest: String = hex::encode(&stats.digest.as_bytes()[..4]);
        let name = format!("{}@{digest}", component.component);
        let samples = format!("{} > {}", stats.samples_in, stats.samples_out);
        let each = each(&stats);
        let memory = bytes_text(as_float(stats.memory_peak));
        let (sink, name) = (cell(sink, 14), cell(&name, 29));
        lines.push(canvas.fit(&format!("{sink} {name} {samples:>14} {each:>8} {memory:>9}")));
    }
    for one in MessageCounts::of_publishers(scene.ledger) {
        lines.push(canvas.fit(&clean(&format!("messages: {one}; {}", one.label))));
    }
    lines.extend(scene.collector.map(|collector| canvas.fit(&clean(collector))));
    lines
}

/// Processor time of one sample.
fn each(stats: &ComponentStats) -> String {
    match stats.samples_in {
        0 => "-".to_owned(),
        samples => format!("{:.1} µs", as_float(stats.cpu_nanos) / as_float(samples) / 1e3),
    }
}

/// The messages of a publisher in all sinks.
#[derive(Debug, Default)]
pub(super) struct MessageCounts {
    label: String,
    pub(super) acknowledged: u64,
    pub(super) waiting: u64,
    pub(super) dropped: u64,
}

impl MessageCounts {
    /// Those of each publisher, by label.
    fn of_publishers(ledger: &Ledger) -> Vec<Self> {
        let mut found: Vec<Self> = Vec::new();
        for (label, count) in ledger.sinks().iter().flat_map(|sink| &sink.publishers) {
            let known = found.iter().position(|one| one.label == **label).unwrap_or_else(|| {
                found.push(Self { label: label.to_string(), ..Self::default() });
                found.len() - 1
            });
            let one = &mut found[known];
            one.acknowledged += count.confirmed.load(Relaxed);
            one.waiting += count.pending.load(Relaxed);
            one.dropped += count.dropped.total();
        }
        found
    }

    /// Those of all publishers together.
    pub(super) fn of_all(ledger: &Ledger) -> Self {
        Self::of_publishers(ledger).into_iter().fold(Self::default(), |sum, one| Self {
            label: String::new(),
            acknowledged: sum.acknowledged + one.acknowledged,
            waiting: sum.waiting + one.waiting,
            dropped: sum.dropped + one.dropped,
        })
    }
}

impl fmt::Display for MessageCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} acknowledged, {} waiting", self.acknowledged, self.waiting)?;
        if self.dropped > 0 { write!(f, ", {} dropped", self.dropped) } else { Ok(()) }
    }
}

fn next(scene: &Scene<'_>, canvas: Canvas) -> Vec<String> {
    let mut lines = vec![String::new(), canvas.style(BOLD, "TRY IN ANOTHER TERMINAL")];
    for (what, command) in scene.next {
        if canvas.rows >= TALL {
            lines.push(canvas.style(DIM, &format!("# {what}")));
        }
        // Never cut: it is for copying. A terminal wraps it.
        lines.push(clean(command));
    }
    lines
}

#[expect(clippy::cast_precision_loss, reason = "for people to look at")]
fn as_float(number: u64) -> f64 {
    number as f64
}

/// A cleaned text of exactly this width.
fn cell(text: &str, width: usize) -> String {
    columns::padded(&clean(text), width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_fit_into_eight_characters() {
        let texts = [0.0, 999.0, 1000.0, 1023.0 * 1024.0, 12.34e6, 5.0e9, 3.0e13].map(bytes_text);
        assert_eq!(
            texts,
            ["0 B", "999 B", "1.0 KiB", "1.0 MiB", "11.8 MiB", "4.7 GiB", "27.3 TiB"]
        );
        assert!(texts.iter().all(|text| text.len() <= 8));
    }

    #[test]
    fn a_sparkline_has_one_bar_a_value() {
        assert_eq!(sparkline(&[0.0, 50.0, 100.0], 100.0), "▁▅█");
        assert_eq!(sparkline(&[0.0, 0.0], 0.0), "▁▁");
        assert_eq!(sparkline(&[f64::NAN, 2.0], 1.0), "▁█");
    }

    #[test]
    fn a_long_command_takes_more_rows_and_a_style_none() {
        let canvas = Canvas { columns: 80, rows: 24, styled: true };
        let lengths = [0, 80, 81].map(|length| height(&"x".repeat(length), canvas));
        assert_eq!(lengths, [1, 1, 2]);
        assert_eq!(height(&canvas.style(BOLD, &"x".repeat(90)), canvas), 1);
    }

    #[test]
    fn hostile_names_keep_the_columns() {
        let cell = cell("a\u{1b}[2J", 12);
        assert!(columns::width(&cell) == 12 && !cell.contains('\u{1b}'), "{cell}");
    }
}
