//! Standard output and standard error. Texts of senders reach the terminal through this module, which
//! escapes control characters in them.

use std::io::{self, Write};

use nephometer_model::clean;
use serde_json::Value;

/// Prints lines to standard error.
pub(super) fn print_error(text: &str) {
    let mut stderr = io::stderr().lock();
    for line in text.lines() {
        // A closed standard error cannot be reported anywhere.
        drop(writeln!(stderr, "{}", clean(line)));
    }
}

/// Prints a line to standard output.
pub(super) fn print(text: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{}", clean(text))
}

/// How rows are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// Aligned columns
    Table,
    /// One JSON object per line
    Json,
    /// Comma-separated values with a header
    Csv,
}

/// Prints rows: columns of a table by their headers and keys; JSON has the whole rows.
pub(super) fn rows(format: Format, columns: &[(&str, &str)], rows: &[Value]) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    match format {
        Format::Json => {
            for row in rows {
                writeln!(out, "{}", escaped(&row.to_string()))?;
            }
        }
        Format::Csv => {
            let keys: Vec<&str> = columns.iter().map(|(_, key)| *key).collect();
            writeln!(out, "{}", keys.join(","))?;
            for row in rows {
                let cells: Vec<String> =
                    columns.iter().map(|(_, key)| quoted(&cell(row, key))).collect();
                writeln!(out, "{}", cells.join(","))?;
            }
        }
        Format::Table => table(&mut out, columns, rows)?,
    }
    out.flush()
}

/// JSON keeps its meaning.
fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if nephometer_model::is_hostile(c) {
            text.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            text.push(c);
        }
    }
    text
}

fn quoted(text: &str) -> String {
    // A leading sign of a formula would be one in spreadsheets, too.
    let formula = text.starts_with(['=', '+', '@']);
    if formula || text.contains([',', '"', '\n', '\r']) {
        let guard = if formula { "'" } else { "" };
        format!("\"{guard}{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

fn cell(row: &Value, key: &str) -> String {
    match row.get(key) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn table(out: &mut impl Write, columns: &[(&str, &str)], rows: &[Value]) -> io::Result<()> {
    let header: Vec<String> = columns.iter().map(|(header, _)| (*header).to_owned()).collect();
    let mut lines = vec![header];
    for row in rows {
        lines.push(columns.iter().map(|(_, key)| clean(&cell(row, key))).collect());
    }
    let widths: Vec<usize> = (0..columns.len())
        .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0))
        .collect();
    for line in &lines {
        let mut text = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            let pad = width - cell.chars().count();
            let number = !cell.is_empty() && cell.parse::<f64>().is_ok();
            let blanks = " ".repeat(pad);
            text.push_str(&if number { blanks + cell } else { cell.clone() + &blanks });
            text.push_str("  ");
        }
        writeln!(out, "{}", text.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tables_are_aligned_and_escaped() {
        let mut out = Vec::new();
        let rows =
            [json!({"name": "cpu\u{1b}[2J", "volume": 1.5}), json!({"name": "x", "volume": null})];
        table(&mut out, &[("NAME", "name"), ("VOLUME", "volume")], &rows).unwrap();
        let expected = "NAME          VOLUME\ncpu\\u{1b}[2J     1.5\nx\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert_eq!(quoted("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(quoted("=1+1"), "\"'=1+1\"");
        assert_eq!(quoted("-1.5"), "-1.5");
    }
}
