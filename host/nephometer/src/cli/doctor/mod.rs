//! `nephometer doctor`: what the agent needs of this host, one file per subject.

mod broker;
mod clock;
mod components;
mod control;
mod disk;
mod libvirt;
mod secrets;

use std::io::{self, Write};

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use super::args::Common;
use super::progress::Progress;
use super::run::runtime;
use super::{Failure, compile, output};
use nephometer_config::{self as config, AgentSpec, ConfigError, Loaded, Problem};
use nephometer_model::clean;

/// Check what the agent needs of this host: libvirt, the broker, disk, clock, secrets, components
///
/// Connects to libvirt and to brokers as the agent does, and publishes nothing. Changes nothing, and
/// works beside a running agent. Run it as the agent's user. Prints each check with its state and, if it
/// is not ok, a remedy. Exits with 78 if the configuration has errors, and with 1 if another check failed.
#[derive(Debug, Args)]
pub(super) struct Doctor {
    #[command(flatten)]
    common: Common,
    /// Exit with 1 if there are warnings, too
    #[arg(long)]
    strict: bool,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// The state of what was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum CheckState {
    Ok,
    Warning,
    Failed,
}

impl CheckState {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }

    fn colour(self) -> &'static str {
        match self {
            Self::Ok => "\x1b[32m",
            Self::Warning => "\x1b[33m",
            Self::Failed => "\x1b[31m",
        }
    }
}

/// The result of one check.
#[derive(Debug)]
struct Diagnosis {
    check: &'static str,
    state: CheckState,
    message: String,
    /// `None` if nothing is to be done.
    remedy: Option<String>,
}

impl Diagnosis {
    fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, state: CheckState::Ok, message: message.into(), remedy: None }
    }

    fn warning(check: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (message, remedy) = (message.into(), Some(remedy.into()));
        Self { check, state: CheckState::Warning, message, remedy }
    }

    fn failed(check: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (message, remedy) = (message.into(), Some(remedy.into()));
        Self { check, state: CheckState::Failed, message, remedy }
    }

    fn to_json(&self) -> Value {
        json!({
            "check": self.check,
            "state": self.state.name(),
            "message": self.message,
            "remedy": self.remedy,
        })
    }
}

/// The name of the check of the configuration.
const CONFIGURATION: &str = "configuration";

impl Doctor {
    pub(super) fn execute(self) -> Result<()> {
        let mut progress = Progress::new();
        let mut found = Vec::new();
        let inputs = self.common.inputs();
        progress.step("configuration");
        let (warnings, spec) = match config::load(&inputs) {
            Ok(Loaded { spec, warnings }) => (warnings, Some(spec)),
            Err(ConfigError { problems, warnings, rest }) => {
                let wrong = |one: &Problem| problem(one, CheckState::Failed);
                found.extend(problems.iter().map(wrong));
                // What the host needs can be checked in any case.
                let host = || config::load_host(&inputs).ok().map(|loaded| loaded.spec);
                (warnings, rest.map(|rest| *rest).or_else(host))
            }
        };
        let (about_secrets, others): (Vec<_>, Vec<_>) =
            warnings.into_iter().partition(|one| one.is_about_secret);
        found.extend(others.iter().map(|one| problem(one, CheckState::Warning)));
        if found.is_empty() {
            found.push(Diagnosis::ok(CONFIGURATION, "the files have no errors"));
        }
        if let Some(spec) = spec {
            found.extend(host(&spec, &mut progress)?);
            found.extend(secrets::check(&inputs, &spec, &about_secrets));
        }
        drop(progress);
        self.print(&found)?;
        let worst = found.iter().map(|one| one.state).max().unwrap_or(CheckState::Ok);
        let is_invalid =
            |one: &Diagnosis| one.check == CONFIGURATION && one.state == CheckState::Failed;
        if found.iter().any(is_invalid) {
            return Err(Failure::Configuration.into());
        }
        match worst {
            CheckState::Failed => Err(Failure::Mismatch.into()),
            CheckState::Warning if self.strict => Err(Failure::Mismatch.into()),
            CheckState::Ok | CheckState::Warning => Ok(()),
        }
    }

    fn print(&self, found: &[Diagnosis]) -> io::Result<()> {
        if self.json {
            let checks: Vec<Value> = found.iter().map(Diagnosis::to_json).collect();
            let count = |state| found.iter().filter(|one| one.state == state).count();
            let document = json!({
                "version": env!("CARGO_PKG_VERSION"),
                "checks": checks,
                "ok": count(CheckState::Ok),
                "warnings": count(CheckState::Warning),
                "failed": count(CheckState::Failed),
            });
            let mut out = output::stdout();
            writeln!(out, "{document}")?;
            return out.flush();
        }
        // Colours cannot pass the output that escapes control characters, so the texts are cleaned here.
        let mut out = output::terminal();
        let is_coloured = output::is_coloured();
        for one in found {
            let name = format!("{:<8}", one.state.name());
            let state = match is_coloured {
                true => format!("{}{name}\x1b[0m", one.state.colour()),
                false => name,
            };
            writeln!(out, "{state}{:<15}{}", one.check, clean(&one.message))?;
            if let Some(remedy) = &one.remedy {
                writeln!(out, "{:23}remedy: {}", "", clean(remedy))?;
            }
        }
        out.flush()
    }
}

/// A problem of the files.
fn problem(one: &Problem, state: CheckState) -> Diagnosis {
    let message = format!("{}: {}", one.location, one.what);
    Diagnosis { check: CONFIGURATION, state, message, remedy: Some(one.remedy.clone()) }
}

/// Everything but the files.
fn host(spec: &AgentSpec, progress: &mut Progress) -> Result<Vec<Diagnosis>> {
    let runtime = runtime()?;
    let mut found = Vec::new();
    progress.step("libvirt");
    found.extend(runtime.block_on(libvirt::check(spec)));
    progress.step("brokers");
    found.extend(runtime.block_on(broker::check(spec)));
    progress.step("disk");
    let holder = disk::holder(&spec.store.path);
    found.extend(disk::check(spec, holder));
    found.push(clock::check());
    progress.step("components");
    found.extend(components::check(&runtime, spec, compile::program()));
    progress.step("control socket");
    found.push(control::check(spec, holder));
    Ok(found)
}
