//! `nephometer dead-letters`

use std::io::Write;

use anyhow::{Result, anyhow};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::ask::Socket;
use super::run::runtime;
use super::{Failure, output, table};
use crate::control::Request;
use nephometer_store::{DeadLetter, DeadLetters as Letters};

/// List, show or retry batches that a component failed on
///
/// A batch becomes a dead letter if a component fails on it twice and `on_error` is `drop`.
#[derive(Debug, Subcommand)]
pub(super) enum DeadLetters {
    /// List dead letters: number, time, sink, place in it, component, samples, reason
    Ls(Ls),
    /// Print the samples of a dead letter, one JSON object per line, as `component run` reads them
    Show(One),
    /// Run a dead letter through its transformer in the running agent again, publish the output, and
    /// remove the dead letter
    #[command(alias = "replay")]
    Retry(Retry),
}

#[derive(Debug, Args)]
pub(super) struct Ls {
    #[command(flatten)]
    socket: Socket,
    /// Print one JSON array instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct One {
    /// Number of the dead letter, from `ls`
    number: u64,
    #[command(flatten)]
    socket: Socket,
}

#[derive(Debug, Args)]
pub(super) struct Retry {
    #[command(flatten)]
    one: One,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl DeadLetters {
    pub(super) fn execute(self) -> Result<()> {
        match self {
            Self::Ls(ls) => list(&ls),
            Self::Show(one) => show(&one),
            Self::Retry(retry) => retry.execute(),
        }
    }
}

fn letters(socket: &Socket) -> Result<Vec<DeadLetter>> {
    let letters = Letters::in_folder(&socket.spec()?.store.path);
    Ok(runtime()?.block_on(letters.all())?)
}

fn list(ls: &Ls) -> Result<()> {
    let letters = letters(&ls.socket)?;
    if ls.json {
        return output::print_json(&letters.iter().map(to_json).collect());
    }
    let header = ["NUMBER", "TIME", "SINK", "PLACE", "COMPONENT", "SAMPLES", "REASON"];
    let mut rows = vec![header.map(str::to_owned)];
    for letter in letters {
        rows.push([
            letter.number.to_string(),
            letter.cycle_start.clone(),
            letter.sink.clone(),
            letter.transformer.to_string(),
            format!("{}@{}", letter.component, short(&letter)),
            letter.sample_count.to_string(),
            letter.reason.clone(),
        ]);
    }
    Ok(table::print(&rows, "no dead letters")?)
}

/// The beginning of the digest of the component.
fn short(letter: &DeadLetter) -> &str {
    letter.digest.get(..12).unwrap_or(&letter.digest)
}

fn to_json(letter: &DeadLetter) -> Value {
    json!({
        "number": letter.number,
        "cycle_start": letter.cycle_start,
        "source": letter.source,
        "sink": letter.sink,
        "transformer": letter.transformer,
        "component": letter.component,
        "digest": letter.digest,
        "samples": letter.sample_count,
        "reason": letter.reason,
    })
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

impl Retry {
    fn execute(&self) -> Result<()> {
        let Self { one, json } = self;
        let answer = one.socket.send(&Request::RetryDeadLetter { number: one.number })?;
        if *json {
            return output::print_json(&json!({ "published": answer["published"] }));
        }
        let mut out = output::stdout();
        writeln!(out, "ok: {} samples published", answer["published"])?;
        Ok(out.flush()?)
    }
}
