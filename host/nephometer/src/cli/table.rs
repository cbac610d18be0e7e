//! Prints samples and other rows as aligned columns.

use std::io::{self, Write};

use super::columns;
use nephometer_model::{Sample, Volume, clean};
use nephometer_pipeline::SinkOutput;

/// The header and the columns of a sample.
const HEADER: [&str; 6] = ["SINK", "METER", "RESOURCE", "VOLUME", "UNIT", "TIME"];

/// Writes outputs of sinks as one table.
pub(super) fn write(out: &mut impl Write, outputs: &[SinkOutput]) -> io::Result<()> {
    let mut rows = vec![HEADER.map(str::to_owned)];
    for part in outputs {
        rows.extend(part.samples.iter().map(|sample| row(&part.sink, sample)));
    }
    write_aligned(out, &rows)
}

/// Writes rows in columns; the first row is the header. Right-aligns the column VOLUME, and escapes
/// control characters.
pub(super) fn write_aligned<const N: usize>(
    out: &mut impl Write,
    rows: &[[String; N]],
) -> io::Result<()> {
    let rows: Vec<[String; N]> =
        rows.iter().map(|row| std::array::from_fn(|column| clean(&row[column]))).collect();
    let Some(header) = rows.first() else { return Ok(()) };
    let widths: [usize; N] = std::array::from_fn(|column| {
        rows.iter().map(|row| columns::width(&row[column])).max().unwrap_or(0)
    });
    for row in &rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let pad = " ".repeat(widths[column] - columns::width(cell));
            let cell = if header[column] == "VOLUME" { pad + cell } else { cell.clone() + &pad };
            line.push_str(&cell);
            line.push_str("  ");
        }
        writeln!(out, "{}", line.trim_end())?;
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
}
