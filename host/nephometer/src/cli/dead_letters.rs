//! `nephometer dead-letters`

use std::io::Write;

use anyhow::{Result, anyhow};
use clap::{Args, Subcommand};

use super::ask::Socket;
use super::run::runtime;
use super::{Failure, output};
use crate::control::Request;
use nephometer_model::clean;
use nephometer_store::{DeadLetter, DeadLetters as Letters};

/// List, show or retry batches that a component failed on
///
/// A batch becomes a dead letter if a component fails on it twice and `on_error` is `drop`.
#[derive(Debug, Subcommand)]
pub(super) enum DeadLetters {
    /// List dead letters: number, time, sink, component, samples, reason
    Ls(Ls),
    /// Print the samples of a dead letter, one JSON object per line, as `component run` reads them
    Show(One),
    /// Run a dead letter through its transformer in the running agent again, publish the output, and
    /// remove the dead letter
    #[command(alias = "replay")]
    Retry(One),
}

#[derive(Debug, Args)]
pub(super) struct Ls {
    #[command(flatten)]
    socket: Socket,
}

#[derive(Debug, Args)]
pub(super) struct One {
    /// Number of the dead letter, from `ls`
    number: u64,
    #[command(flatten)]
    socket: Socket,
}

impl DeadLetters {
    pub(super) fn execute(self) -> Result<()> {
        match self {
            Self::Ls(ls) => list(&ls.socket),
            Self::Show(one) => show(&one),
            Self::Retry(one) => retry(&one),
        }
    }
}

fn letters(socket: &Socket) -> Result<Vec<DeadLetter>> {
    let letters = Letters::in_folder(&socket.spec()?.store.path);
    Ok(runtime()?.block_on(letters.all())?)
}

fn list(socket: &Socket) -> Result<()> {
    let mut out = output::stdout();
    for letter in letters(socket)? {
        writeln!(
            out,
            "{} {} sink {} transformer {} {}@{} samples {}: {}",
            letter.number,
            clean(&letter.cycle_start),
            clean(&letter.sink),
            letter.transformer,
            clean(&letter.component),
            clean(letter.digest.get(..12).unwrap_or(&letter.digest)),
            letter.sample_count,
            clean(&letter.reason)
        )?;
    }
    Ok(out.flush()?)
}

fn show(one: &One) -> Result<()> {
    let letters = letters(&one.socket)?;
    let letter = letters.into_iter().find(|letter| letter.number == one.number);
    let letter = letter
        .ok_or_else(|| anyhow!("there is no dead letter {}", one.number).context(Failure::Usage))?;
    let samples = letter.samples().map_err(|reason| anyhow!(reason))?;
    let mut out = output::stdout();
    for sample in &samples {
        output::print_sample(&mut out, sample)?;
    }
    Ok(out.flush()?)
}

fn retry(one: &One) -> Result<()> {
    let answer = one.socket.send(&Request::RetryDeadLetter { number: one.number })?;
    let mut out = output::stdout();
    writeln!(out, "ok: {} samples published", answer["published"])?;
    Ok(out.flush()?)
}
