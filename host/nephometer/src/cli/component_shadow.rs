//! `nephometer component shadow` and `promote`: another version of a component beside the live one.

use std::io::Write;

use anyhow::{Result, anyhow};
use clap::Args;
use serde_json::Value;

use super::ask::{Socket, list, print_report, shadow_line, text};
use super::{Failure, output, table};
use crate::control::Request;

/// Show how the shadow of a component differs from it
///
/// A shadow (`components.by_name.NAME.shadow`) gets the same batches as the live component, from the
/// state that this had when the shadow began, and nothing of it is published. Prints the first sample
/// that differs, how many do, the sums of both for each meter, and what both cost. Exits with 1 if
/// samples differ, or if the comparison is incomplete.
#[derive(Debug, Args)]
pub(super) struct ShadowCommand {
    /// The component; all that have a shadow without one
    #[arg(value_name = "NAME")]
    component: Option<String>,
    #[command(flatten)]
    socket: Socket,
    /// Print one JSON array instead of text
    #[arg(long)]
    json: bool,
}

impl ShadowCommand {
    pub(super) fn execute(self) -> Result<()> {
        let component = self.component.clone();
        let answer = self.socket.send(&Request::ComponentShadow { component })?;
        let shadows = list(&answer);
        if let (Some(name), []) = (&self.component, shadows) {
            let missing = anyhow!(
                "no transformer {name} with a shadow is running; set components.by_name.{name}.shadow"
            );
            return Err(missing.context(Failure::Usage));
        }
        if self.json {
            output::print_json(&answer)?;
        } else if shadows.is_empty() {
            writeln!(output::stdout(), "no component has a shadow")?;
        } else {
            let mut out = output::stdout();
            for shadow in shadows {
                print(&mut out, shadow)?;
            }
            out.flush()?;
        }
        let is_equal = |one: &Value| one["differing"] == 0 && one["complete"] == true;
        if shadows.iter().all(is_equal) { Ok(()) } else { Err(Failure::Mismatch.into()) }
    }
}

fn print(out: &mut impl Write, shadow: &Value) -> Result<()> {
    writeln!(out, "{}", shadow_line(shadow))?;
    let first = &shadow["first"];
    if first.is_object() {
        let value = |key: &str| match &first[key] {
            Value::Null => "nothing".to_owned(),
            value => value.to_string(),
        };
        writeln!(
            out,
            "  first difference ({}): {} of {} at {}: live {}, shadow {}",
            text(&first["what"]),
            text(&first["meter"]),
            text(&first["resource"]),
            text(&first["time"]),
            value("live"),
            value("shadow")
        )?;
        writeln!(
            out,
            "  {} samples differ, {} of them are missing in the shadow and {} are extra",
            shadow["differing"], shadow["missing"], shadow["extra"]
        )?;
    }
    if let Some(reason) = shadow["last_failure"].as_str() {
        writeln!(out, "  last failure: {}", output::paragraph(reason))?;
    }
    let mut rows = vec![["METER", "LIVE", "SHADOW", "DIFFERENCE", "DIFFER"].map(str::to_owned)];
    for meter in list(&shadow["meters"]) {
        let number = |key: &str| meter[key].to_string();
        rows.push([
            text(&meter["meter"]),
            number("live"),
            number("shadow"),
            number("difference"),
            number("differing"),
        ]);
    }
    out.flush()?;
    table::print(&rows, "  no samples so far")?;
    let mut rows =
        vec![["COST", "CALLS", "SAMPLES", "CPU", "PER SAMPLE", "MEMORY"].map(str::to_owned)];
    for side in ["live", "shadow"] {
        let cost = &shadow["cost"][side];
        let float = |key: &str| cost[key].as_f64();
        let or_none = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        rows.push([
            side.to_owned(),
            or_none(cost["calls"].as_u64().map(|calls| calls.to_string())),
            or_none(cost["samples"].as_u64().map(|samples| samples.to_string())),
            or_none(float("cpu_seconds").map(|seconds| format!("{:.1} ms", seconds * 1e3))),
            or_none(float("cpu_microseconds_per_sample").map(|one| format!("{one:.2} us"))),
            or_none(cost["memory_peak_bytes"].as_u64().map(table::size)),
        ]);
    }
    Ok(table::print(&rows, "")?)
}

/// Run a component with the code of its shadow from now on
///
/// A reload in which the component has other code: it keeps the state of the live component, and no
/// sample is lost or doubled. If it fails, the live component stays. The promotion also holds after a
/// restart, until the configuration has another version of the component: put the file in its place,
/// or name it with `from`, and remove `shadow`.
#[derive(Debug, Args)]
pub(super) struct Promote {
    /// The component
    #[arg(value_name = "NAME")]
    component: String,
    #[command(flatten)]
    socket: Socket,
    /// Run the component as it is configured again
    #[arg(long)]
    undo: bool,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl Promote {
    pub(super) fn execute(self) -> Result<()> {
        let Self { component, undo, .. } = self;
        let answer = self.socket.send(&Request::ComponentPromote { component, undo })?;
        let is_refused = !list(&answer["problems"]).is_empty();
        if self.json {
            output::print_json(&answer)?;
        } else {
            let mut out = output::stdout();
            print_report(&mut out, "", &answer)?;
            out.flush()?;
        }
        if is_refused { Err(Failure::Configuration.into()) } else { Ok(()) }
    }
}
