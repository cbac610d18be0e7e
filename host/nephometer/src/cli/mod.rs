//! The command line: what was typed becomes what is meant, and a result becomes an exit code.
//!
//! One file a command. The only module that reads the environment, writes to standard output and
//! knows `clap` and `anyhow`.

mod args;
mod ask;
mod check;
mod compile;
mod component;
#[cfg(feature = "authors")]
mod component_bench;
mod component_check;
#[cfg(feature = "authors")]
mod component_new;
#[cfg(feature = "authors")]
mod component_test;
mod dead_letters;
mod demo;
mod gaps;
mod inspect;
mod live;
mod meters;
mod once;
mod output;
mod record;
mod replay;
mod run;
mod spool;
mod store_client;
mod symbolize;
mod table;
mod tool;

use std::fmt;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::app::AppError;
use crate::control::ControlError;
use nephometer_config::ConfigError;
use nephometer_libvirt::hypervisor::HypervisorError;
use nephometer_pipeline::publish::PublisherError;
use nephometer_store::StoreError;

/// A metering agent for hosts that run libvirt virtual machines.
#[derive(Debug, Parser)]
#[command(name = "nephometer", version, about, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 well; 1 not as expected, or not built; 64 wrong usage; 69 a needed service is not there, or \
samples are still held at the end; 70 a fault of our own; 78 bad configuration.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the agent until SIGTERM or SIGINT
    Run(run::Run),
    /// Poll once, run the pipelines, print what each sink publishes
    Once(once::Once),
    /// Poll for a while and keep what would enter the sinks, to be run again
    Record(record::Record),
    /// Run a recording again, and compare two components or two configurations on it
    #[command(alias = "rerun")]
    Replay(replay::Replay),
    /// Load and check everything, print every problem with its place
    Check(check::Check),
    /// Ask a running agent how it is: its sinks and its ledger
    Status(ask::Status),
    /// Have a running agent read its configuration and components again
    Reload(ask::ReloadCommand),
    /// Batches that were set aside because a component failed on them
    #[command(subcommand)]
    DeadLetters(dead_letters::DeadLetters),
    /// What waits for publishers, and what they have refused
    #[command(subcommand)]
    Spool(spool::Spool),
    /// For which times there are no samples where there should be some
    Gaps(gaps::Gaps),
    /// List every meter, and what this host gives
    Meters(meters::Meters),
    /// Tools for authors of components
    #[command(subcommand)]
    Component(component::Component),
    /// Show meters on the terminal, on embedded defaults: what `make run` calls
    Demo(demo::Demo),
    #[command(hide = true)]
    Compile(compile::Compile),
    #[command(hide = true)]
    Symbolize(symbolize::Symbolize),
}

/// How a command ends other than well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Failure {
    Different = 1,
    Usage = 64,
    Unavailable = 69,
    Software = 70,
    Configuration = 78,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Different => "not as expected",
            Self::Usage => "wrong usage",
            Self::Unavailable => "a needed service is not there",
            Self::Software => "a fault of our own",
            Self::Configuration => "bad configuration",
        })
    }
}

impl std::error::Error for Failure {}

/// The whole program.
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
        Command::Status(status) => status.execute(),
        Command::Reload(reload) => reload.execute(),
        Command::DeadLetters(letters) => letters.execute(),
        Command::Spool(spool) => spool.execute(),
        Command::Gaps(gaps) => gaps.execute(),
        Command::Meters(meters) => meters.execute(),
        Command::Component(component) => component.execute(),
        Command::Demo(demo) => demo.execute(),
        Command::Compile(compile) => compile.execute(),
        Command::Symbolize(symbolize) => symbolize.execute(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

/// Clap's own text; asking for help or the version is no mistake.
fn usage(error: &clap::Error) -> ExitCode {
    let printed = error.print();
    if error.use_stderr() || printed.is_err() {
        ExitCode::from(Failure::Usage as u8)
    } else {
        ExitCode::SUCCESS
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    // A reader that has gone away, as `head` does, is not worth a word.
    let closed = error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
    });
    if closed {
        return ExitCode::SUCCESS;
    }
    let failure = classify(error);
    // A failure without a source has been told already, with its reasons.
    let told = error.chain().len() == 1 && error.is::<Failure>();
    if !told {
        output::complain(&format!("{error:#}"));
    }
    ExitCode::from(failure as u8)
}

/// The one place where errors become exit codes.
fn classify(error: &anyhow::Error) -> Failure {
    // As a context it is in front of an error, but not itself one of the chain.
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
                ControlError::Strange { .. } => Failure::Software,
                ControlError::Bind { .. } | ControlError::Absent { .. } => Failure::Unavailable,
            };
        }
        if let Some(StoreError::NoRecording { .. } | StoreError::Recording { .. }) =
            cause.downcast_ref()
        {
            return Failure::Usage;
        }
        match cause.downcast_ref::<AppError>() {
            Some(AppError::Publisher { source: PublisherError::Store(_), .. }) => {
                return Failure::Unavailable;
            }
            Some(AppError::Configuration(_) | AppError::Publisher { .. }) => {
                return Failure::Configuration;
            }
            Some(AppError::NoSuchSink { .. }) => return Failure::Usage,
            Some(AppError::Inspect(
                HypervisorError::Uri { .. } | HypervisorError::Recording { .. },
            )) => {
                return Failure::Configuration;
            }
            Some(AppError::Store(_) | AppError::Inspect(_) | AppError::Control(_)) => {
                return Failure::Unavailable;
            }
            Some(AppError::Components(_) | AppError::Task { .. }) | None => {}
        }
    }
    Failure::Software
}
