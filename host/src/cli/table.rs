//! Samples as aligned columns.

use std::io::{self, Write};

use crate::model::{Sample, Volume};
use crate::pipeline::Emission;

/// The header and the columns of a sample.
const HEADER: [&str; 6] = ["SINK", "METER", "RESOURCE", "VOLUME", "UNIT", "TIME"];

/// Writes all emissions as one table.
pub(super) fn write(out: &mut impl Write, emissions: &[Emission]) -> io::Result<()> {
    let mut rows = vec![HEADER.map(str::to_owned)];
    for emission in emissions {
        rows.extend(emission.samples.iter().map(|sample| row(&emission.sink, sample)));
    }
    aligned(out, &rows)
}

/// Writes rows, the first of which is their header, in columns. Numbers end in the same place.
pub(super) fn aligned<const N: usize>(
    out: &mut impl Write,
    rows: &[[String; N]],
) -> io::Result<()> {
    let Some(header) = rows.first() else { return Ok(()) };
    let widths: [usize; N] = std::array::from_fn(|column| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
    });
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let pad = " ".repeat(widths[column] - cell.chars().count());
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
