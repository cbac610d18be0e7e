//! `nephometer keys`

use std::io::Write;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::Value;

use super::ask::{Socket, list, text};
use super::output;
use super::store_client::StoreClient;
use crate::control::Request;

/// List, rotate or revoke the keys that sign streams
///
/// Auditors verify signed records with the public keys. Asks the running agent; if none runs, opens
/// its store.
#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    /// List the public keys, oldest first
    Ls(KeysLs),
    /// Replace the key that signs; signatures of the key before stay valid
    Rotate(Rotate),
    /// Declare that signatures of a key are not to be trusted; if it signs now, a new key replaces it
    Revoke(Revoke),
}

#[derive(Debug, Args)]
pub(super) struct KeysLs {
    #[command(flatten)]
    socket: Socket,
    /// Print one JSON array instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Rotate {
    #[command(flatten)]
    socket: Socket,
}

#[derive(Debug, Args)]
pub(super) struct Revoke {
    /// Id of the key, from `ls`
    key: String,
    /// Time since which its signatures are not to be trusted, such as 2026-11-01T00:00:00 [default: now]
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    #[command(flatten)]
    socket: Socket,
}

impl Keys {
    pub(super) fn execute(self) -> Result<()> {
        match self {
            Self::Ls(ls) => ls.execute(),
            Self::Rotate(Rotate { socket }) => {
                let key = StoreClient::new(&socket).request(Request::RotateKey)?;
                print(&format!("ok: key {} signs from now on", text(&key["id"])))
            }
            Self::Revoke(Revoke { key, since, socket }) => {
                let request = Request::RevokeKey { key, since };
                let key = StoreClient::new(&socket).request(request)?;
                let (id, since) = (text(&key["id"]), text(&key["revoked"]));
                print(&format!("ok: key {id} is revoked since {since}"))
            }
        }
    }
}

impl KeysLs {
    fn execute(&self) -> Result<()> {
        let answer = StoreClient::new(&self.socket).request(Request::Keys)?;
        let mut out = output::stdout();
        if self.json {
            writeln!(out, "{answer}")?;
            return Ok(out.flush()?);
        }
        for key in list(&answer) {
            let state = |name: &str| match &key[name] {
                Value::Null => String::new(),
                time => format!(", {name} {}", text(time)),
            };
            writeln!(
                out,
                "{} public {} created {}{}{}",
                text(&key["id"]),
                text(&key["public"]),
                text(&key["created"]),
                state("replaced"),
                state("revoked")
            )?;
        }
        Ok(out.flush()?)
    }
}

fn print(line: &str) -> Result<()> {
    let mut out = output::stdout();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
