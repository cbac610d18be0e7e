//! The command line: one file per command. The only module that writes to standard output and uses
//! `clap` and `anyhow`.

mod audit;
mod check;
mod closing;
mod erase;
mod export;
mod import;
mod letters;
mod manual;
mod migrate;
mod output;
mod query;
mod reload;
mod run;
mod store;
mod token;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use nephometer_amqp::AmqpError;
use nephometer_config::{CollectorSpec, ConfigError, load_collector};
use nephometer_telemetry::LogFormat;

use crate::api::AccessError;
use crate::audit::KeysError;
use crate::ingest::files::ImportError;
use crate::store::StoreError;

/// Collects metering samples, keeps them and answers queries
///
/// Takes samples from the queues of AMQP brokers, stores each of them once, and serves Ceilometer's
/// v2 API.
#[derive(Debug, Parser)]
#[command(name = "nephometer-collector", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 success; 1 not provable; 64 usage error; 69 store or service unavailable; \
70 internal error; 78 configuration error.";

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Run),
    Check(check::Check),
    Import(import::Import),
    Export(export::ExportMonths),
    #[command(subcommand)]
    Query(query::Query),
    Status(store::Status),
    Backup(store::Backup),
    Restore(store::Restore),
    Migrate(migrate::Migrate),
    CloseMonth(closing::CloseMonth),
    #[command(name = "corrections")]
    Corrections(closing::ListCorrections),
    Audit(audit::Audit),
    EraseProject(erase::EraseProject),
    #[command(subcommand)]
    DeadLetters(letters::Letters),
    Token(token::Token),
    Completions(manual::Completions),
    Man(manual::Man),
}

/// The configuration file
#[derive(Debug, Clone, Args)]
struct ConfigOption {
    /// The configuration; by default /etc/nephometer/collector.yaml
    #[arg(long, value_name = "FILE", env = "NEPHOMETER_COLLECTOR_CONFIG")]
    config: Option<PathBuf>,
}

impl ConfigOption {
    /// Loads the configuration and prints its warnings.
    fn load(&self) -> anyhow::Result<CollectorSpec> {
        let (spec, warnings) = load_collector(self.config.as_deref())?;
        for warning in warnings {
            output::print_error(&format!("warning: {warning}"));
        }
        Ok(spec)
    }
}

/// A command that was called wrongly, or a service that does not answer.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Unavailable(String),
    #[error("{0}")]
    NotProvable(String),
}

fn log(filter: &str, json: bool) -> anyhow::Result<()> {
    let format = if json { LogFormat::Json } else { LogFormat::Text };
    nephometer_telemetry::start(format, filter).map_err(|error| Failure::Usage(error).into())
}

/// Runs the command that the arguments name.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A closed terminal leaves nobody to report to.
            drop(error.print());
            return if error.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS };
        }
    };
    let result = match cli.command {
        Command::Run(run) => run.execute(),
        Command::Check(check) => check.execute(),
        Command::Import(import) => import.execute(),
        Command::Export(export) => export.execute(),
        Command::Query(query) => query.execute(),
        Command::Status(status) => status.execute(),
        Command::Backup(backup) => backup.execute(),
        Command::Restore(restore) => restore.execute(),
        Command::Migrate(migrate) => migrate.execute(),
        Command::CloseMonth(month) => month.execute(),
        Command::Corrections(month) => month.execute(),
        Command::Audit(audit) => audit.execute(),
        Command::EraseProject(project) => project.execute(),
        Command::DeadLetters(letters) => letters.execute(),
        Command::Token(token) => token.execute(),
        Command::Completions(completions) => completions.execute(),
        Command::Man(man) => man.execute(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::print_error(&format!("error: {error:#}"));
            ExitCode::from(code(&error))
        }
    }
}

/// As in sysexits.
fn code(error: &anyhow::Error) -> u8 {
    for cause in error.chain() {
        // Of a broker's address: what goes wrong with connections ends nothing.
        let wrong = cause.is::<ConfigError>() || cause.is::<AccessError>();
        if wrong || cause.is::<AmqpError>() || cause.is::<KeysError>() {
            return 78;
        }
        match cause.downcast_ref() {
            Some(Failure::Usage(_)) => return 64,
            Some(Failure::Unavailable(_)) => return 69,
            Some(Failure::NotProvable(_)) => return 1,
            None => {}
        }
        let wrong_month = matches!(cause.downcast_ref(), Some(StoreError::Month { .. }));
        if wrong_month || cause.is::<ImportError>() {
            return 64;
        }
        let not_written =
            cause.is::<std::io::Error>() || cause.is::<parquet::errors::ParquetError>();
        if cause.is::<StoreError>() || not_written {
            return 69;
        }
    }
    70
}
