//! Prints samples and other rows as aligned columns.

use std::io::{self, Write};

use super::columns::{self, Attention, attention};
use super::output;
use nephometer_model::{Sample, Volume, clean};
use nephometer_pipeline::SinkOutput;

/// The header and the columns of a sample.
const HEADER: [&str; 6] = ["SINK", "METER", "RESOURCE", "VOLUME", "UNIT", "TIME"];

/// Columns of numbers, which are right-aligned.
const NUMBERS: [&str; 14] = [
    "VOLUME",
    "ENVELOPES",
    "SAMPLES",
    "SIZE",
    "REJECTED",
    "CALLS",
    "CPU",
    "MEMORY",
    "IN",
    "OUT",
    "FAILURES",
    "RESTARTS",
    "SELF",
    "TOTAL",
];
const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";
const RED: &str = "\x1b[31m";
const YELLOW: &str = "\x1b[33m";

/// Writes outputs of sinks as one table.
pub(super) fn write_outputs(out: &mut impl Write, outputs: &[SinkOutput]) -> io::Result<()> {
    let mut rows = vec![HEADER.map(str::to_owned)];
    for part in outputs {
        rows.extend(part.samples.iter().map(|sample| row(&part.sink, sample)));
    }
    write_aligned(out, &rows)
}

/// Prints rows to standard output; the first row is the header, which is bold on a terminal. Prints
/// `none` if there is no other.
pub(super) fn print<const N: usize>(rows: &[[String; N]], none: &str) -> io::Result<()> {
    // Colours cannot pass the output that escapes control characters; all cells are escaped here.
    let mut out = output::terminal();
    if rows.len() > 1 {
        write(&mut out, rows, output::is_coloured())?;
    } else {
        writeln!(out, "{none}")?;
    }
    out.flush()
}

/// A number of bytes in a unit that keeps it short.
pub(super) fn size(bytes: u64) -> String {
    let units = [(1_u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.iter().find(|(factor, _)| bytes >= *factor) {
        Some((factor, unit)) => {
            let tenths = u128::from(bytes) * 10 / u128::from(*factor);
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} B"),
    }
}

/// Writes rows in columns; the first row is the header. Right-aligns numbers, and escapes control
/// characters.
pub(super) fn write_aligned<const N: usize>(
    out: &mut impl Write,
    rows: &[[String; N]],
) -> io::Result<()> {
    write(out, rows, false)
}

fn write<const N: usize>(
    out: &mut impl Write,
    rows: &[[String; N]],
    is_coloured: bool,
) -> io::Result<()> {
    let rows: Vec<[String; N]> =
        rows.iter().map(|row| std::array::from_fn(|column| clean(&row[column]))).collect();
    let Some(header) = rows.first() else { return Ok(()) };
    let widths: [usize; N] = std::array::from_fn(|column| {
        rows.iter().map(|row| columns::width(&row[column])).max().unwrap_or(0)
    });
    for (nth, row) in rows.iter().enumerate() {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let pad = " ".repeat(widths[column] - columns::width(cell));
            let cell =
                if NUMBERS.contains(&&*header[column]) { pad + cell } else { cell.clone() + &pad };
            let colour = attention(&cell)
                .filter(|_| is_coloured && header[column] == "STATE")
                .map(|attention| if attention == Attention::Now { RED } else { YELLOW });
            match colour {
                Some(colour) => line.push_str(&format!("{colour}{cell}{PLAIN}")),
                None => line.push_str(&cell),
            }
            line.push_str("  ");
        }
        match is_coloured && nth == 0 {
            true => writeln!(out, "{BOLD}{}{PLAIN}", line.trim_end())?,
            false => writeln!(out, "{}", line.trim_end())?,
        }
    }
    Ok(())
}

/// The cells of one sample.
pub(super) fn row(sink: &str, sample: &Sample) -> [String; 6] {
    [
        sink.to_owned(),
        sample.meter.name.to_string(),
        sample.resource.id.to_string(),
        volume(sample.volume),
        sample.meter.unit.to_string(),
        sample.taken.wall.iso(),
    ]
}

fn volume(volume: Volume) -> String {
    match volume {
        Volume::Integer(whole) => whole.to_string(),
        Volume::Float(float) => format!("{float:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_escaped_and_keeps_its_column() {
        let rows = [["NAME", "VOLUME"], ["a\nb\u{1b}[2J", "1"]];
        let rows = rows.map(|row| row.map(str::to_owned));
        let mut out = Vec::new();
        write_aligned(&mut out, &rows).unwrap();
        let expected = "NAME           VOLUME\na\\nb\\u{1b}[2J       1\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn the_header_is_bold_on_a_terminal_only() {
        let rows = [["NAME"], ["a"]].map(|row| row.map(str::to_owned));
        let mut out = Vec::new();
        write(&mut out, &rows, true).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "\u{1b}[1mNAME\u{1b}[0m\na\n");
    }

    #[test]
    fn states_that_need_attention_have_a_colour() {
        let rows = [["STATE", "SINK"], ["running", "a"], ["failing", "failing"]];
        let rows = rows.map(|row| row.map(str::to_owned));
        let mut out = Vec::new();
        write(&mut out, &rows, true).unwrap();
        let lines =
            "\u{1b}[1mSTATE    SINK\u{1b}[0m\nrunning  a\n\u{1b}[31mfailing\u{1b}[0m  failing\n";
        assert_eq!(String::from_utf8(out).unwrap(), lines);
    }

    #[test]
    fn sizes_have_a_unit() {
        let sizes = [0, 1023, 1536, 64 << 20, u64::MAX].map(size);
        assert_eq!(sizes[..4], ["0 B", "1023 B", "1.5 KiB", "64.0 MiB"]);
        assert_eq!(sizes[4], "17179869183.9 GiB");
    }
}
