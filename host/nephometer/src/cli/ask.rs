//! `nephometer status`, `reload` and `component status`: requests to a running agent.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::Value;

use super::args::Common;
use super::{Failure, output, table};
use crate::control::{self, ControlError, ControlLines, Request};
use nephometer_config as config;
use nephometer_model::clean;

/// Selects the agent.
#[derive(Debug, Args)]
pub(super) struct Socket {
    /// The agent's control socket [default: control.socket of the configuration]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The host's settings, which name the socket [default: /etc/nephometer/nephometer.yaml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Socket {
    /// Sends a request and returns the answer.
    pub(super) fn send(&self, request: &Request) -> Result<Value> {
        Ok(control::send(&self.path()?, request)?)
    }

    /// Sends a request whose answer is followed by lines. A refusal is a usage error.
    pub(super) fn open(&self, request: &Request) -> Result<(Value, ControlLines)> {
        control::open(&self.path()?, request).map_err(|error| match error {
            ControlError::Refused(_) => anyhow::Error::from(error).context(Failure::Usage),
            error => error.into(),
        })
    }

    /// The path of the agent's socket.
    pub(super) fn path(&self) -> Result<PathBuf> {
        Ok(match &self.socket {
            Some(path) => path.clone(),
            None => self.spec()?.control,
        })
    }

    /// The host's settings.
    pub(super) fn spec(&self) -> Result<config::AgentSpec> {
        let common = Common { config: self.config.clone(), ..Common::default() };
        Ok(config::load_host(&common.inputs())?.spec)
    }
}

/// Show what a running agent is doing
///
/// Prints the state of each sink, the result of the last reload, and the ledger.
#[derive(Debug, Args)]
pub(super) struct Status {
    #[command(flatten)]
    socket: Socket,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(super) fn execute(self) -> Result<()> {
        let answer = self.socket.send(&Request::Status)?;
        if self.json {
            return output::print_json(&answer);
        }
        let mut out = output::stdout();
        writeln!(out, "nephometer {}, pid {}", text(&answer["version"]), answer["pid"])?;
        for sink in list(&answer["sinks"]) {
            let transformers = list(&sink["transformers"]).iter();
            let transformers = transformers
                .map(|one| format!("{}@{}", text(&one["component"]), text(&one["digest"])));
            writeln!(
                out,
                "sink {}: {}; offset {}, emitted offset {}, saved offset {}; {} reloads, {} rollbacks; {}",
                text(&sink["sink"]),
                text(&sink["state"]),
                sink["position"],
                sink["emitted"],
                sink["saved"],
                sink["reloads"],
                sink["rollbacks"],
                transformers.collect::<Vec<_>>().join(" | ")
            )?;
            if let Some(reason) = sink["reason"].as_str() {
                writeln!(out, "  {}", output::paragraph(reason))?;
            }
        }
        for shadow in list(&answer["shadows"]) {
            writeln!(out, "{}", shadow_line(shadow))?;
        }
        for guard in list(&answer["guards"]) {
            writeln!(out, "{}", guard_line(guard))?;
        }
        for promoted in list(&answer["promoted"]) {
            let by = if promoted["guard"].is_string() { "held by its guard" } else { "promoted" };
            writeln!(
                out,
                "{}@{} is {by}, in the place of the configured {}",
                text(&promoted["component"]),
                text(&promoted["digest"]),
                text(&promoted["replaces"])
            )?;
        }
        if let Some(calls) = answer["libvirt"]["calls"].as_u64() {
            let number = |key: &str| answer["libvirt"][key].as_f64().unwrap_or_default();
            let share = 100.0 * number("busy_seconds") / number("seconds").max(1e-9);
            writeln!(
                out,
                "libvirt: {calls} calls, {share:.1}% of one libvirtd worker; {} abandoned calls pending",
                answer["libvirt"]["hanging"]
            )?;
        }
        print_report(&mut out, "last reload: ", &answer["last_reload"])?;
        write!(out, "{}", answer["ledger_text"].as_str().unwrap_or_default())?;
        Ok(out.flush()?)
    }
}

/// Make a running agent apply its changed configuration and components now
///
/// The agent does this by itself when their files change. Prints what was changed, and what was
/// refused and why. Exits with 78 if anything was refused.
#[derive(Debug, Args)]
pub(super) struct ReloadCommand {
    #[command(flatten)]
    socket: Socket,
    /// Only print what would change, and which states would be kept
    #[arg(long)]
    plan: bool,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl ReloadCommand {
    pub(super) fn execute(self) -> Result<()> {
        let answer = self.socket.send(&Request::Reload { plan: self.plan })?;
        let refused = !list(&answer["problems"]).is_empty();
        let mut out = output::stdout();
        if self.json {
            writeln!(out, "{answer}")?;
        } else {
            print_report(&mut out, "", &answer)?;
        }
        if !self.json && list(&answer["changes"]).is_empty() && !refused {
            writeln!(out, "ok: nothing has changed")?;
        }
        out.flush()?;
        if refused { Err(Failure::Configuration.into()) } else { Ok(()) }
    }
}

/// Show what the components of a running agent use
///
/// Prints calls, samples in and out, processor time, memory, failures and restarts of each instance;
/// with --json also limits, reloads, rollbacks and what was refused.
#[derive(Debug, Args)]
pub(super) struct ComponentStatus {
    #[command(flatten)]
    socket: Socket,
    /// Print one JSON array instead of text
    #[arg(long)]
    json: bool,
}

impl ComponentStatus {
    pub(super) fn execute(self) -> Result<()> {
        let answer = self.socket.send(&Request::ComponentStatus)?;
        if self.json {
            return output::print_json(&answer);
        }
        let header = [
            "PLACE",
            "COMPONENT",
            "STATE",
            "CALLS",
            "IN",
            "OUT",
            "CPU",
            "MEMORY",
            "FAILURES",
            "RESTARTS",
            "LAST FAILURE",
        ];
        let mut rows = vec![header.map(str::to_owned)];
        rows.extend(list(&answer).iter().map(component_row));
        Ok(table::print(&rows, "no components")?)
    }
}

/// A shadow in one line.
pub(super) fn shadow_line(shadow: &Value) -> String {
    let mut line = format!(
        "shadow of {}@{} in sink {}/{}: {}{}, {}; {} samples compared, {} differ",
        text(&shadow["component"]),
        text(&shadow["live_digest"]),
        text(&shadow["sink"]),
        shadow["transformer"],
        text(&shadow["shadow"]),
        shadow["digest"].as_str().map_or(String::new(), |digest| format!("@{}", clean(digest))),
        text(&shadow["state"]),
        shadow["samples"],
        shadow["differing"],
    );
    let gaps = [
        ("missed_batches", "batches missed"),
        ("failures", "failures"),
        ("skipped", "samples on which the live one failed"),
    ];
    let gaps = gaps.into_iter().filter(|(key, _)| shadow[key] != 0);
    let mut gaps: Vec<String> = gaps.map(|(key, what)| format!("{} {what}", shadow[key])).collect();
    if shadow["without_state"] == true {
        gaps.push("it began without the state".to_owned());
    }
    if !gaps.is_empty() {
        line += &format!("; incomplete: {}", gaps.join(", "));
    }
    if let Some(reason) = shadow["reason"].as_str() {
        line += &format!("\n  {}", output::paragraph(reason));
    }
    line
}

/// A guarded change in one line, with its reason and its correction in lines of their own.
pub(super) fn guard_line(guard: &Value) -> String {
    let components = list(&guard["components"]).iter().map(|one| {
        format!("{}@{} -> {}", text(&one["component"]), text(&one["before"]), text(&one["now"]))
    });
    let mut line = format!(
        "guard of {} in sink {}: {}, {} of {} cycles; {} samples compared, {} differ",
        components.collect::<Vec<_>>().join(", "),
        text(&guard["sink"]),
        text(&guard["state"]),
        guard["cycles"],
        guard["cycles_to_compare"],
        guard["samples"],
        guard["differing"],
    );
    if let Some(reason) = guard["reason"].as_str() {
        line += &format!("\n  {}", output::paragraph(reason));
    }
    if let Some(path) = guard["correction"].as_str() {
        line += &format!("\n  correction: {}", clean(path));
    }
    line
}

/// The most important numbers of a component; `--json` has all.
fn component_row(instance: &Value) -> [String; 11] {
    let number = |key: &str| instance[key].to_string();
    let millis = instance["cpu_seconds"].as_f64().unwrap_or_default() * 1e3;
    [
        text(&instance["place"]),
        format!("{}@{}", text(&instance["component"]), text(&instance["digest"])),
        text(&instance["state"]),
        number("calls"),
        number("rows_in"),
        number("rows_out"),
        format!("{millis:.1} ms"),
        table::size(instance["memory_bytes"].as_u64().unwrap_or_default()),
        number("failures"),
        number("restarts"),
        text(&instance["last_failure"]),
    ]
}

/// Prints the lines of a reload report, each behind a prefix.
pub(super) fn print_report(
    out: &mut impl Write,
    prefix: &str,
    report: &Value,
) -> std::io::Result<()> {
    for change in list(&report["changes"]) {
        writeln!(out, "{prefix}{}", paragraph(change))?;
    }
    for problem in list(&report["problems"]) {
        writeln!(out, "{prefix}refused: {}", paragraph(problem))?;
    }
    Ok(())
}

/// The elements of an array; none if it is no array.
pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A text on one line, with control characters escaped.
pub(super) fn text(value: &Value) -> String {
    clean(value.as_str().unwrap_or_default())
}

/// A text with its lines indented, and control characters escaped.
pub(super) fn paragraph(value: &Value) -> String {
    output::paragraph(value.as_str().unwrap_or_default())
}
