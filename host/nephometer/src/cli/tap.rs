//! `nephometer tap`

use std::io::Write;

use anyhow::{Result, anyhow};
use clap::Args;
use serde_json::Value;

use super::ask::{Socket, text};
use super::columns::padded_at_least;
use super::{Failure, output};
use crate::control::Request;
use nephometer_model::clean;

/// Show samples that pass a point of a running agent's pipeline
///
/// Shows what the publishers get, unless --source, --before or --after names another point. Prints one line
/// per sample until SIGINT, --count or --seconds. Never slows down the pipeline: samples that pass faster than
/// they are shown are counted, and the number is printed.
#[derive(Debug, Args)]
pub(super) struct TapCommand {
    #[command(flatten)]
    socket: Socket,
    /// Only meters that this pattern matches, such as cpu or 'disk.*'
    #[arg(long, value_name = "GLOB")]
    meter: Option<String>,
    /// Only this resource: its id, or the UUID or a name of its instance
    #[arg(long, value_name = "RESOURCE")]
    resource: Option<String>,
    /// Only this sink
    #[arg(long, value_name = "NAME")]
    sink: Option<String>,
    /// Samples as polled, before any sink
    #[arg(long, conflicts_with_all = ["sink", "before", "after"])]
    source: bool,
    /// Samples before the first transformer of a sink
    #[arg(long, conflicts_with = "after")]
    before: bool,
    /// Samples behind this transformer: its name, or its index in the sink, from 0
    #[arg(long, value_name = "TRANSFORMER")]
    after: Option<String>,
    /// Stop after this many samples
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Stop after this many seconds [default: 3600, which is the most]
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// Show at most this many samples in a second [default: 1000, at most 10000]
    #[arg(long, value_name = "N")]
    rate: Option<u64>,
    /// Print one JSON object per line: samples, numbers of samples that were not shown, and the end
    #[arg(long)]
    json: bool,
}

/// The headers of the columns, and their least widths.
const COLUMNS: [(&str, usize); 6] =
    [("TIME", 26), ("POINT", 24), ("METER", 28), ("RESOURCE", 36), ("VOLUME", 14), ("UNIT", 0)];

impl TapCommand {
    pub(super) fn execute(self) -> Result<()> {
        let at = match (self.source, self.before, &self.after) {
            (true, ..) => "source",
            (_, true, _) => "before",
            (.., Some(_)) => "after",
            _ => "output",
        };
        let request = Request::Tap {
            at: Some(at.to_owned()),
            transformer: self.after.clone(),
            sink: self.sink.clone(),
            meter: self.meter.clone(),
            resource: self.resource.clone(),
            count: self.count,
            seconds: self.seconds,
            rate: self.rate,
        };
        let (_, lines) = self.socket.open(&request)?;
        let mut out = output::stdout();
        if !self.json {
            write_row(&mut out, &COLUMNS.map(|(header, _)| header.to_owned()))?;
            out.flush()?;
        }
        for line in lines {
            let line = line?;
            if self.json {
                writeln!(out, "{line}")?;
            } else if line["sample"].is_object() {
                write_row(&mut out, &row(&line))?;
            } else {
                note(&line);
            }
            out.flush()?;
            if line["end"].is_string() {
                return Ok(());
            }
        }
        Err(anyhow!("the agent has ended").context(Failure::Unavailable))
    }
}

/// The cells of one sample.
fn row(line: &Value) -> [String; 6] {
    let sample = &line["sample"];
    let point = match (line["sink"].as_str(), line["index"].as_u64()) {
        (Some(sink), Some(index)) => format!("{sink}/{index} {}", text(&line["transformer"])),
        (Some(sink), None) => sink.to_owned(),
        (None, _) => text(&line["source"]),
    };
    let volume = &sample["volume"];
    let volume = match volume.as_f64() {
        Some(float) if !volume.is_i64() && !volume.is_u64() => format!("{float:.3}"),
        _ => volume.to_string(),
    };
    let cell = |key: &str| text(&sample[key]);
    [cell("timestamp"), point, cell("name"), cell("resource_id"), volume, cell("unit")]
}

fn write_row(out: &mut impl Write, cells: &[String; 6]) -> std::io::Result<()> {
    let mut line = String::new();
    for (cell, (header, least)) in cells.iter().zip(COLUMNS) {
        let cell = clean(cell);
        line += &match header {
            "VOLUME" => format!("{cell:>least$}"),
            _ => padded_at_least(&cell, least),
        };
        line += "  ";
    }
    writeln!(out, "{}", line.trim_end())
}

/// Reports what is not a sample, on standard error: standard output has samples only.
fn note(line: &Value) {
    let text = match (line["not_shown"].as_u64(), line["reason"].as_str(), line["end"].as_str()) {
        (Some(count), _, Some(end)) => {
            let why = match end {
                "count" => "--count",
                "seconds" => "--seconds",
                _ => "the agent has stopped",
            };
            format!("ok: {} samples shown, {count} samples were not shown; {why}", line["shown"])
        }
        (Some(count), Some("rate"), _) => {
            format!("{count} samples were not shown: more in a second than --rate")
        }
        (Some(count), ..) => {
            format!("{count} samples were not shown: they passed faster than they were read")
        }
        _ => clean(&line.to_string()),
    };
    output::print_error(&text);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_has_its_point_and_is_escaped() {
        let sample = json!({
            "timestamp": "t", "name": "cpu\u{1b}[2J", "resource_id": "r", "volume": 0.5, "unit": "%",
        });
        let at = |line: Value| row(&line)[1].clone();
        let in_sink = json!({"sink": "k", "index": 1, "transformer": "c", "sample": sample});
        assert_eq!(at(in_sink.clone()), "k/1 c");
        assert_eq!(at(json!({"sink": "k", "index": null, "sample": sample})), "k");
        assert_eq!(at(json!({"sink": null, "source": "s", "sample": sample})), "s");
        let mut out = Vec::new();
        write_row(&mut out, &row(&in_sink)).unwrap();
        let line = String::from_utf8(out).unwrap();
        assert!(line.contains("cpu\\u{1b}[2J") && line.ends_with(" 0.500  %\n"), "{line}");
    }
}
