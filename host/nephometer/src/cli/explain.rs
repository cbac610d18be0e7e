//! `nephometer explain`

use std::io::{self, Write};

use anyhow::Result;
use clap::Args;
use serde_json::Value;

use super::ask::{Socket, list, text};
use super::output;
use crate::control::Request;

/// Explain where the value of a meter comes from, or why there is none
///
/// Prints the fields of libvirt, the steps of the unit, what each transformer made of the last value, the
/// publishers with what is acknowledged, and periods with missing samples. If there is no value, prints
/// why, and since when. Exits with 0 in both cases.
#[derive(Debug, Args)]
pub(super) struct Explain {
    #[command(flatten)]
    socket: Socket,
    /// The name of the meter, such as cpu
    meter: String,
    /// The UUID or a name of an instance, or the id of a resource, such as UUID-vda
    resource: String,
    /// Wait for the next polling cycle first
    #[arg(long)]
    wait: bool,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// The beginning of lines below a heading.
const INDENT: &str = "  ";

impl Explain {
    pub(super) fn execute(self) -> Result<()> {
        let Self { socket, meter, resource, wait, json } = self;
        if wait && !json {
            output::print_error("waiting for the next polling cycle");
        }
        let (answer, _) = socket.open(&Request::Explain { meter, resource, wait })?;
        if json {
            return output::print_json(&answer);
        }
        let mut out = output::stdout();
        print(&mut out, &answer)?;
        Ok(out.flush()?)
    }
}

fn print(out: &mut impl Write, answer: &Value) -> io::Result<()> {
    print_status(out, answer)?;
    print_meter(out, &answer["meter"])?;
    for source in list(&answer["sources"]).iter().filter(|one| one["selects"] == true) {
        print_source(out, source)?;
    }
    for sink in list(&answer["sinks"]) {
        print_sink(out, sink)?;
    }
    print_gaps(out, list(&answer["gaps"]))
}

fn print_status(out: &mut impl Write, answer: &Value) -> io::Result<()> {
    let (meter, resource) = (text(&answer["meter"]["name"]), &answer["resource"]);
    let name = match resource["display_name"].as_str() {
        Some(_) => format!(" ({})", text(&resource["display_name"])),
        None => String::new(),
    };
    let status = match answer["status"].as_str().unwrap_or_default() {
        "present" => "the last value has been published",
        "transformed" => "the last value has been published as another meter",
        "dropped" => "the last value was dropped",
        "absorbed" => "the last value was taken by a transformer",
        "waiting" => "the last value waits for its sink",
        _ => "there is no value",
    };
    writeln!(out, "{meter} of {}{name}: {status}", text(&resource["asked"]))?;
    for reason in list(&answer["reasons"]) {
        let since = match reason["since"].as_str() {
            Some(_) => format!(", since {}", text(&reason["since"])),
            None => String::new(),
        };
        writeln!(out, "{INDENT}{}{since}: {}", text(&reason["reason"]), text(&reason["text"]))?;
    }
    Ok(())
}

fn print_meter(out: &mut impl Write, meter: &Value) -> io::Result<()> {
    match meter["origin"].as_str().unwrap_or_default() {
        "libvirt" => {
            writeln!(out, "meter: {}, from {}", kind(meter), text(&meter["fields"]))?;
            let groups: Vec<String> = list(&meter["groups"]).iter().map(text).collect();
            writeln!(out, "{INDENT}statistics: {}", groups.join(", "))?;
            for step in list(&meter["unit_steps"]) {
                let [from, to, by] = ["from", "to", "by"].map(|key| text(&step[key]));
                writeln!(out, "{INDENT}unit: {from} {by} = {to}")?;
            }
            Ok(())
        }
        "agent" => writeln!(out, "meter: made by the agent"),
        "other_release" => {
            let releases: Vec<String> = list(&meter["releases"]).iter().map(text).collect();
            writeln!(out, "meter: of {} only", releases.join(", "))
        }
        _ => {
            let similar: Vec<String> = list(&meter["similar"]).iter().map(text).collect();
            let hint = match similar.is_empty() {
                true => String::new(),
                false => format!("; similar meters: {}", similar.join(", ")),
            };
            writeln!(out, "meter: not one of libvirt; transformers may make it{hint}")
        }
    }
}

fn kind(meter: &Value) -> String {
    let unit = text(&meter["unit"]);
    let unit = if unit.is_empty() { "no unit".to_owned() } else { unit };
    format!("{}, {unit}", text(&meter["type"]))
}

fn print_source(out: &mut impl Write, source: &Value) -> io::Result<()> {
    let meters: Vec<String> = list(&source["meters"]).iter().map(text).collect();
    let last = match source["last_cycle"].as_str() {
        Some(_) => format!("last cycle {}", text(&source["last_cycle"])),
        None => "no cycle so far".to_owned(),
    };
    let seconds = source["interval_seconds"].as_f64().unwrap_or_default();
    let name = text(&source["source"]);
    writeln!(out, "source {name}: every {seconds} s, meters {}, {last}", meters.join(" "))?;
    print_values(out, "polled", &source["values"])
}

fn print_sink(out: &mut impl Write, sink: &Value) -> io::Result<()> {
    let transformers = list(&sink["transformers"]);
    let reached = |one: &Value| !list(&one["steps"]).is_empty();
    let concerned = !list(&sink["entered"]).is_empty() || transformers.iter().any(reached);
    if !concerned && sink["state"] == "running" {
        return Ok(());
    }
    let state_reason = match sink["state_reason"].as_str() {
        Some(_) => format!(": {}", text(&sink["state_reason"])),
        None => String::new(),
    };
    writeln!(out, "sink {}: {}{state_reason}", text(&sink["sink"]), text(&sink["state"]))?;
    for one in transformers {
        let place = format!(
            "transformer {} {}@{}",
            one["index"],
            text(&one["component"]),
            text(&one["digest"])
        );
        if !reached(one) {
            writeln!(out, "{INDENT}{place}: got no such sample")?;
        }
        for step in list(&one["steps"]) {
            let reason = match step["reason"].as_str() {
                Some(_) => format!(": {}", text(&step["reason"])),
                None => String::new(),
            };
            writeln!(out, "{INDENT}{place}: {}{reason}", text(&step["did"]))?;
            if step["did"] == "transformed" || step["did"] == "flushed" {
                print_values(out, "  took", &step["took"])?;
                print_values(out, "  made", &step["made"])?;
            }
        }
    }
    print_values(out, "published", &sink["output"])?;
    for one in list(&sink["publishers"]) {
        let dropped: u64 = one["dropped"]
            .as_object()
            .map_or(0, |reasons| reasons.values().filter_map(Value::as_u64).sum());
        let all = if one["acknowledged"] == true { "; all acknowledged" } else { "" };
        writeln!(
            out,
            "{INDENT}publisher {}: {} of {} envelopes confirmed, {} pending, {dropped} dropped{all}",
            text(&one["publisher"]),
            one["confirmed"],
            one["encoded"],
            one["pending"]
        )?;
    }
    Ok(())
}

fn print_values(out: &mut impl Write, what: &str, values: &Value) -> io::Result<()> {
    for value in list(values) {
        let volume = value["volume"].as_str().map_or(value["volume"].to_string(), str::to_owned);
        let [meter, resource, unit, time] =
            ["meter", "resource", "unit", "time"].map(|key| text(&value[key]));
        let gap = if unit.is_empty() { "" } else { " " };
        writeln!(out, "{INDENT}{what} {meter} = {volume}{gap}{unit} at {time}, {resource}")?;
    }
    Ok(())
}

fn print_gaps(out: &mut impl Write, gaps: &[Value]) -> io::Result<()> {
    if !gaps.is_empty() {
        writeln!(out, "missing samples:")?;
    }
    for gap in gaps {
        let [from, until, reason, source, meaning] =
            ["from", "until", "reason", "source", "text"].map(|key| text(&gap[key]));
        let open = if gap["open"] == true { " (still missing)" } else { "" };
        writeln!(out, "{INDENT}{from} to {until}{open} {reason}, source {source}: {meaning}")?;
    }
    Ok(())
}
