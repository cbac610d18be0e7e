//! The command line: parses arguments, runs a command, maps its result to an exit code.
//!
//! One file per command. The only module that reads the environment, writes to standard output and
//! uses `clap` and `anyhow`. It holds no logic of the agent.

mod args;
mod ask;
mod check;
mod columns;
mod compile;
mod component;
#[cfg(feature = "authors")]
mod component_bench;
mod component_check;
mod component_guard;
#[cfg(feature = "authors")]
mod component_new;
#[cfg(feature = "authors")]
mod component_profile;
mod component_registry;
mod component_shadow;
#[cfg(feature = "authors")]
mod component_test;
mod config_show;
mod dead_letters;
mod demo;
mod doctor;
mod explain;
mod findings;
mod gaps;
mod graph;
mod inspect;
mod keys;
mod manual;
mod meters;
mod once;
mod output;
mod page;
mod progress;
mod record;
mod replay;
mod run;
mod schema;
mod spool;
mod store_client;
mod symbolize;
mod table;
mod tap;
mod tool;
mod top;

use std::fmt;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::app::{AppError, SupplyError};
use crate::control::ControlError;
use nephometer_config::ConfigError;
use nephometer_libvirt::hypervisor::HypervisorError;
use nephometer_pipeline::publish::PublisherError;
use nephometer_registry::{RegistryError, SignatureError};
use nephometer_store::StoreError;

/// Meters the virtual machines of a libvirt host and publishes the samples
///
/// Nephometer polls libvirt, runs the samples through transformers and sends them to publishers, as
/// configured in pipeline.yaml. Transformers and custom publishers are WebAssembly components.
#[derive(Debug, Parser)]
#[command(name = "nephometer", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 success; 1 mismatch, build failure or failed check; 64 usage error; \
69 service unavailable or samples still pending; 70 internal error; 78 configuration error.";

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Run),
    Once(once::Once),
    Record(record::Record),
    #[command(alias = "rerun")]
    Replay(replay::Replay),
    Check(check::Check),
    #[command(subcommand)]
    Config(config_show::ConfigCommand),
    Schema(schema::SchemaCommand),
    Doctor(doctor::Doctor),
    Graph(graph::Graph),
    Status(ask::Status),
    Tap(tap::TapCommand),
    Explain(explain::Explain),
    Top(top::Top),
    Reload(ask::ReloadCommand),
    #[command(subcommand)]
    DeadLetters(dead_letters::DeadLetters),
    #[command(subcommand)]
    Spool(spool::Spool),
    Gaps(gaps::Gaps),
    Page(page::Page),
    #[command(subcommand)]
    Keys(keys::Keys),
    Meters(meters::Meters),
    #[command(subcommand)]
    Component(component::Component),
    Demo(demo::Demo),
    Completions(manual::Completions),
    Man(manual::Man),
    #[command(hide = true)]
    Compile(compile::Compile),
    #[command(hide = true)]
    Symbolize(symbolize::Symbolize),
}

/// Why a command failed; the discriminant is the exit code, as in sysexits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Failure {
    Mismatch = 1,
    Usage = 64,
    Unavailable = 69,
    Software = 70,
    Configuration = 78,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mismatch => "failed",
            Self::Usage => "usage error",
            Self::Unavailable => "service unavailable",
            Self::Software => "internal error",
            Self::Configuration => "configuration error",
        })
    }
}

impl std::error::Error for Failure {}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let result = match cli.command {
        Command::Run(run) => run.execute(),
        Command::Once(once) => once.execute(),
        Command::Record(record) => record.execute(),
        Command::Replay(replay) => replay.execute(),
        Command::Check(check) => check.execute(),
        Command::Config(config) => config.execute(),
        Command::Schema(schema) => schema.execute(),
        Command::Doctor(doctor) => doctor.execute(),
        Command::Graph(graph) => graph.execute(),
        Command::Status(status) => status.execute(),
        Command::Tap(tap) => tap.execute(),
        Command::Explain(explain) => explain.execute(),
        Command::Top(top) => top.execute(),
        Command::Reload(reload) => reload.execute(),
        Command::DeadLetters(letters) => letters.execute(),
        Command::Spool(spool) => spool.execute(),
        Command::Gaps(gaps) => gaps.execute(),
        Command::Page(page) => page.execute(),
        Command::Keys(keys) => keys.execute(),
        Command::Meters(meters) => meters.execute(),
        Command::Component(component) => component.execute(),
        Command::Demo(demo) => demo.execute(),
        Command::Completions(completions) => completions.execute(),
        Command::Man(man) => man.execute(),
        Command::Compile(compile) => compile.execute(),
        Command::Symbolize(symbolize) => symbolize.execute(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

/// Prints clap's message. A request for help or the version is a success.
fn usage(error: &clap::Error) -> ExitCode {
    let printed = error.print();
    if error.use_stderr() || printed.is_err() {
        ExitCode::from(Failure::Usage as u8)
    } else {
        ExitCode::SUCCESS
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    // A closed pipe is no failure: `head` stops reading early.
    let closed = error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
    });
    if closed {
        return ExitCode::SUCCESS;
    }
    let failure = classify(error);
    // The command has already printed the reasons of a failure without a source.
    let printed = error.chain().len() == 1 && error.is::<Failure>();
    if !printed {
        output::print_error(&format!("{error:#}"));
    }
    ExitCode::from(failure as u8)
}

/// The failure that an error of a registry or a signature is.
fn of_registry(cause: &(dyn std::error::Error + 'static)) -> Option<Failure> {
    let registry = match (cause.downcast_ref::<SupplyError>(), cause.downcast_ref()) {
        (Some(SupplyError::Registry(error)), _) | (None, Some(error)) => error,
        (Some(_), _) => return Some(Failure::Mismatch),
        (None, None) => {
            return cause.downcast_ref::<SignatureError>().map(|_| Failure::Mismatch);
        }
    };
    Some(match registry {
        RegistryError::Connect { .. }
        | RegistryError::Http { .. }
        | RegistryError::Timeout { .. }
        | RegistryError::Proxy(_) => Failure::Unavailable,
        RegistryError::Status { status, .. } if *status >= 500 => Failure::Unavailable,
        RegistryError::Folder { .. } => Failure::Software,
        _ => Failure::Mismatch,
    })
}

/// Maps an error to its exit code. No other code does.
fn classify(error: &anyhow::Error) -> Failure {
    // A failure that was attached as context is not an element of the chain.
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return *failure;
    }
    for cause in error.chain() {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return *failure;
        }
        if cause.downcast_ref::<ConfigError>().is_some() {
            return Failure::Configuration;
        }
        if let Some(control) = cause.downcast_ref::<ControlError>() {
            return match control {
                ControlError::Refused(_) => Failure::Configuration,
                ControlError::InvalidResponse { .. } => Failure::Software,
                ControlError::Bind { .. } | ControlError::Absent { .. } => Failure::Unavailable,
            };
        }
        if let Some(StoreError::InvalidRecording { .. } | StoreError::Recording { .. }) =
            cause.downcast_ref()
        {
            return Failure::Usage;
        }
        if let Some(failure) = of_registry(cause) {
            return failure;
        }
        match cause.downcast_ref::<AppError>() {
            Some(AppError::Publisher { source: PublisherError::Store(_), .. }) => {
                return Failure::Unavailable;
            }
            Some(AppError::Configuration(_) | AppError::Publisher { .. }) => {
                return Failure::Configuration;
            }
            Some(AppError::NoSuchSink { .. }) => return Failure::Usage,
            Some(AppError::Hypervisor(
                HypervisorError::Uri { .. } | HypervisorError::Recording { .. },
            )) => {
                return Failure::Configuration;
            }
            Some(AppError::Store(_) | AppError::Hypervisor(_) | AppError::Control(_)) => {
                return Failure::Unavailable;
            }
            Some(AppError::Components(_) | AppError::Task { .. }) | None => {}
        }
    }
    Failure::Software
}

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory};

    use super::Cli;

    fn descriptions(command: &Command, found: &mut Vec<(String, String)>) {
        for one in command.get_subcommands().filter(|one| !one.is_hide_set()) {
            let about = one.get_about().map(ToString::to_string).unwrap_or_default();
            found.push((one.get_name().to_owned(), about));
            descriptions(one, found);
        }
    }

    // The comments of flattened arguments must not replace those of their command.
    #[test]
    fn every_command_has_its_own_description() {
        let mut found = Vec::new();
        descriptions(&Cli::command(), &mut found);
        for (name, about) in &found {
            let alike = found.iter().filter(|(_, other)| other == about).count();
            assert!(!about.is_empty() && alike == 1, "{name}: {about:?}");
        }
        Cli::command().debug_assert();
    }
}
