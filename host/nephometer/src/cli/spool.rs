//! `nephometer spool`

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use super::ask::{Socket, list, text};
use super::store_client::StoreClient;
use super::{Failure, output};
use crate::control::Request;
use nephometer_model::clean;

/// What waits for publishers. A running agent is asked; if none runs, its store is looked at.
#[derive(Debug, Subcommand)]
pub(super) enum Spool {
    /// List the spools: envelopes that wait, their samples, bytes and age, and what was set aside
    Ls(SpoolLs),
    /// Read every envelope; exits 1 if one cannot be read
    Check(SpoolLs),
    /// Copy what is in a spool, one JSON object a line, each with the bytes of its message; nothing is
    /// taken away
    Export(Export),
    /// Send what a receiver has refused for good once more, or give what waits for a publisher that
    /// is not there any more to another one
    Requeue(Requeue),
}

#[derive(Debug, Args)]
pub(super) struct SpoolLs {
    #[command(flatten)]
    socket: Socket,
    /// One JSON array instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Export {
    /// As `ls` shows it
    spool: String,
    /// Where to [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    socket: Socket,
}

#[derive(Debug, Args)]
pub(super) struct Requeue {
    /// As `ls` shows it
    spool: String,
    /// Into this spool, as `ls` shows it, instead of its own
    #[arg(long, value_name = "SPOOL")]
    to: Option<String>,
    #[command(flatten)]
    socket: Socket,
}

impl Spool {
    pub(super) fn execute(self) -> Result<()> {
        match self {
            Self::Ls(ls) => ls.list(),
            Self::Check(ls) => ls.check(),
            Self::Export(export) => export.execute(),
            Self::Requeue(requeue) => requeue.execute(),
        }
    }
}

impl SpoolLs {
    fn list(&self) -> Result<()> {
        let mut store_client = StoreClient::new(&self.socket);
        let answer = store_client.ask(Request::Spools)?;
        // Only a running agent has publishers.
        let is_running = store_client.is_an_agents();
        let mut out = output::stdout();
        if self.json {
            writeln!(out, "{answer}")?;
            return Ok(out.flush()?);
        }
        for spool in list(&answer) {
            write!(
                out,
                "{}: {} envelopes with {} samples, {} bytes",
                text(&spool["spool"]),
                spool["held"],
                spool["samples"],
                spool["bytes"]
            )?;
            if let Some(oldest) = spool["oldest"].as_str() {
                write!(out, ", oldest of {}", clean(oldest))?;
            }
            write!(out, "; {} refused and set aside", spool["set_aside"])?;
            let orphan = spool["publisher"] == false && is_running;
            writeln!(out, "{}", if orphan { "; no publisher is there for it" } else { "" })?;
        }
        Ok(out.flush()?)
    }

    fn check(&self) -> Result<()> {
        let answer = StoreClient::new(&self.socket).ask(Request::SpoolCheck)?;
        let mut out = output::stdout();
        if self.json {
            writeln!(out, "{answer}")?;
        } else {
            for problem in list(&answer) {
                writeln!(out, "{}", text(problem))?;
            }
        }
        let sound = list(&answer).is_empty();
        if sound && !self.json {
            writeln!(out, "all envelopes can be read")?;
        }
        out.flush()?;
        if sound { Ok(()) } else { Err(Failure::Different.into()) }
    }
}

impl Export {
    fn execute(&self) -> Result<()> {
        let mut out: Box<dyn Write> = match &self.output {
            Some(path) => {
                let file = File::create(path);
                let what = || format!("{} cannot be written", path.display());
                Box::new(BufWriter::new(file.with_context(what)?))
            }
            None => Box::new(output::stdout()),
        };
        let mut store_client = StoreClient::new(&self.socket);
        let mut after = None;
        loop {
            let request = Request::SpoolPage { spool: self.spool.clone(), after };
            let page = store_client.ask(request)?;
            for envelope in list(&page["envelopes"]) {
                writeln!(out, "{envelope}")?;
            }
            after = serde_json::from_value(page["next"].clone())?;
            if after.is_none() {
                return Ok(out.flush()?);
            }
        }
    }
}

impl Requeue {
    fn execute(&self) -> Result<()> {
        let (from, to) = (self.spool.clone(), self.to.clone().unwrap_or(self.spool.clone()));
        let moved = StoreClient::new(&self.socket).ask(Request::SpoolRequeue { from, to })?;
        let mut out = output::stdout();
        writeln!(out, "{} envelopes with {} samples", moved["envelopes"], moved["samples"])?;
        Ok(out.flush()?)
    }
}
