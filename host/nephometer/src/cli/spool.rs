//! `nephometer spool`

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde_json::Value;

use super::ask::{Socket, list, text};
use super::progress::Progress;
use super::store_client::StoreClient;
use super::{Failure, output, table};
use crate::control::Request;

/// List, check, export or requeue envelopes that wait for publishers
///
/// Asks the running agent; if none runs, opens its store.
#[derive(Debug, Subcommand)]
pub(super) enum Spool {
    /// List the spools with their pending and rejected envelopes
    Ls(SpoolLs),
    /// Read every envelope, and exit with 1 if one is damaged
    Check(SpoolLs),
    /// Print the envelopes of a spool, one JSON object per line, with the bytes of their messages. The
    /// spool keeps them
    Export(Export),
    /// Send rejected envelopes again, or move the envelopes of a removed publisher to another spool
    Requeue(Requeue),
}

#[derive(Debug, Args)]
pub(super) struct SpoolLs {
    #[command(flatten)]
    socket: Socket,
    /// Print one JSON array instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Export {
    /// Name of the spool, from `ls`
    spool: String,
    /// File to write to [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    socket: Socket,
}

#[derive(Debug, Args)]
pub(super) struct Requeue {
    /// Name of the spool, from `ls`
    spool: String,
    /// Spool to move the envelopes to, from `ls` [default: the same spool]
    #[arg(long, value_name = "SPOOL")]
    to: Option<String>,
    #[command(flatten)]
    socket: Socket,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
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
        let answer = store_client.request(Request::Spools)?;
        // A store without an agent has no publishers.
        let agent_runs = store_client.has_agent();
        if self.json {
            return output::print_json(&answer);
        }
        let header = ["SPOOL", "ENVELOPES", "SAMPLES", "SIZE", "REJECTED", "OLDEST", "PUBLISHER"];
        let mut rows = vec![header.map(str::to_owned)];
        for spool in list(&answer) {
            let publisher = match (&spool["publisher"], agent_runs) {
                (Value::Bool(true), true) => "open",
                (_, true) => "none",
                (_, false) => "",
            };
            rows.push([
                text(&spool["spool"]),
                spool["held"].to_string(),
                spool["samples"].to_string(),
                table::size(spool["bytes"].as_u64().unwrap_or_default()),
                spool["set_aside"].to_string(),
                text(&spool["oldest"]),
                publisher.to_owned(),
            ]);
        }
        Ok(table::print(&rows, "no spools")?)
    }

    fn check(&self) -> Result<()> {
        let answer = StoreClient::new(&self.socket).request(Request::SpoolCheck)?;
        let mut out = output::stdout();
        if self.json {
            writeln!(out, "{answer}")?;
        } else {
            for problem in list(&answer) {
                writeln!(out, "{}", text(problem))?;
            }
        }
        let intact = list(&answer).is_empty();
        if intact && !self.json {
            writeln!(out, "ok: all envelopes are readable")?;
        }
        out.flush()?;
        if intact { Ok(()) } else { Err(Failure::Mismatch.into()) }
    }
}

impl Export {
    fn execute(&self) -> Result<()> {
        let mut out: Box<dyn Write> = match &self.output {
            Some(path) => {
                let file = File::create(path);
                let what = || format!("cannot write {}", path.display());
                Box::new(BufWriter::new(file.with_context(what)?))
            }
            None => Box::new(output::stdout()),
        };
        let mut store_client = StoreClient::new(&self.socket);
        // The envelopes themselves may be on the terminal.
        let mut progress = self.output.as_ref().map(|_| Progress::new());
        let (mut after, mut exported) = (None, 0);
        loop {
            let request = Request::SpoolPage { spool: self.spool.clone(), after };
            let page = store_client.request(request)?;
            for envelope in list(&page["envelopes"]) {
                writeln!(out, "{envelope}")?;
                exported += 1;
            }
            if let Some(progress) = &mut progress {
                progress.count("envelopes exported", exported, None);
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
        let requeued =
            StoreClient::new(&self.socket).request(Request::SpoolRequeue { from, to })?;
        if self.json {
            return output::print_json(&requeued);
        }
        let mut out = output::stdout();
        writeln!(
            out,
            "ok: requeued {} envelopes, {} samples",
            requeued["envelopes"], requeued["samples"]
        )?;
        Ok(out.flush()?)
    }
}
