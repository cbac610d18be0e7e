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

/// Rows that were dropped because a component failed on them twice and `on_error` is drop.
#[derive(Debug, Subcommand)]
pub(super) enum DeadLetters {
    /// List them: number, time, sink, component, rows, reason
    Ls(Ls),
    /// Print the rows of one, one JSON object a line, as `component run` takes them
    Show(One),
    /// Give the rows of one to their transformer in the running agent again, publish what comes out,
    /// and take it off the list
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
    /// As `ls` shows it
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
    let letters = Letters::of(&socket.spec()?.store.path);
    Ok(runtime()?.block_on(letters.all())?)
}

fn list(socket: &Socket) -> Result<()> {
    let mut out = output::stdout();
    for letter in letters(socket)? {
        writeln!(
            out,
            "{} {} sink {} transformer {} {}@{} rows {}: {}",
            letter.number,
            clean(&letter.cycle_start),
            clean(&letter.sink),
            letter.transformer,
            clean(&letter.component),
            clean(letter.digest.get(..12).unwrap_or(&letter.digest)),
            letter.rows,
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
        output::sample(&mut out, sample)?;
    }
    Ok(out.flush()?)
}

fn retry(one: &One) -> Result<()> {
    let answer = one.socket.ask(&Request::RetryDeadLetter { number: one.number })?;
    let mut out = output::stdout();
    writeln!(out, "{} samples published", answer["published"])?;
    Ok(out.flush()?)
}
