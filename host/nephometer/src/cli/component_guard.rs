//! `nephometer component guard`: the last guarded change of each sink.

use std::io::Write;

use anyhow::Result;
use clap::Args;
use serde_json::Value;

use super::ask::{Socket, guard_line, list, text};
use super::{Failure, output, table};
use crate::control::Request;

/// Show how the last change of each sink differs from the version before
///
/// With `components.guard.enabled` the version before runs on for some polling cycles after a reload with
/// other code of a transformer, and nothing of it is published. Prints the sums of both for each meter,
/// the first sample that differs, and what both cost. Exits with 1 if the last change of a sink was rolled
/// back.
#[derive(Debug, Args)]
pub(super) struct GuardCommand {
    #[command(flatten)]
    socket: Socket,
    /// Print one JSON array instead of text
    #[arg(long)]
    json: bool,
}

impl GuardCommand {
    pub(super) fn execute(self) -> Result<()> {
        let answer = self.socket.send(&Request::ComponentGuard)?;
        let guards = list(&answer);
        if self.json {
            output::print_json(&answer)?;
        } else if guards.is_empty() {
            writeln!(output::stdout(), "no change was guarded since the agent started")?;
        } else {
            for guard in guards {
                print(guard)?;
            }
        }
        let is_well = |one: &Value| one["state"] != "rolled_back" && one["state"] != "exceeded";
        if guards.iter().all(is_well) { Ok(()) } else { Err(Failure::Mismatch.into()) }
    }
}

fn print(guard: &Value) -> Result<()> {
    let mut out = output::stdout();
    writeln!(out, "{}", guard_line(guard))?;
    let first = &guard["first"];
    if first.is_object() {
        let value = |key: &str| match &first[key] {
            Value::Null => "nothing".to_owned(),
            value => value.to_string(),
        };
        writeln!(
            out,
            "  first difference ({}): {} of {} at {}: published {}, before {}",
            text(&first["what"]),
            text(&first["meter"]),
            text(&first["resource"]),
            text(&first["time"]),
            value("published"),
            value("before")
        )?;
    }
    let cost = |key: &str| guard["cost"][key].as_f64();
    if let (Some(now), Some(before)) =
        (cost("published_microseconds_per_sample"), cost("before_microseconds_per_sample"))
    {
        writeln!(out, "  cost of a sample: {now:.2} us, before {before:.2} us")?;
    }
    out.flush()?;
    let mut rows = vec![["METER", "PUBLISHED", "BEFORE", "DIFFER"].map(str::to_owned)];
    for meter in list(&guard["meters"]) {
        let number = |key: &str| meter[key].to_string();
        rows.push([
            text(&meter["meter"]),
            number("published"),
            number("before"),
            number("differing"),
        ]);
    }
    Ok(table::print(&rows, "  no samples so far")?)
}
