//! `nephometer keys`

use std::io::Write;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::Value;

use super::ask::{Socket, list, text};
use super::store_client::StoreClient;
use super::{output, table};
use crate::control::Request;
use nephometer_model::clean;

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
    /// Print lines for the file of keys that an auditor trusts, with the name of this host
    #[arg(long, conflicts_with = "json")]
    trusted: bool,
}

#[derive(Debug, Args)]
pub(super) struct Rotate {
    #[command(flatten)]
    socket: Socket,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
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
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl Keys {
    pub(super) fn execute(self) -> Result<()> {
        match self {
            Self::Ls(ls) => ls.execute(),
            Self::Rotate(Rotate { socket, json }) => {
                let key = StoreClient::new(&socket).request(Request::RotateKey)?;
                if json {
                    return output::print_json(&key);
                }
                print(&format!("ok: key {} signs from now on", text(&key["id"])))
            }
            Self::Revoke(Revoke { key, since, socket, json }) => {
                let request = Request::RevokeKey { key, since };
                let key = StoreClient::new(&socket).request(request)?;
                if json {
                    return output::print_json(&key);
                }
                let (id, since) = (text(&key["id"]), text(&key["revoked"]));
                print(&format!("ok: key {id} is revoked since {since}"))
            }
        }
    }
}

impl KeysLs {
    fn execute(&self) -> Result<()> {
        let answer = StoreClient::new(&self.socket).request(Request::Keys)?;
        if self.json {
            return output::print_json(&answer);
        }
        if self.trusted {
            let host = self.socket.spec()?.host;
            for key in list(&answer) {
                let revoked = match &key["revoked"] {
                    Value::Null => String::new(),
                    time => format!(" revoked={}", text(time)),
                };
                let (public, since) = (text(&key["public"]), text(&key["created"]));
                print(&format!("{} {public} since={since}{revoked}", clean(&host)))?;
            }
            return Ok(());
        }
        let mut rows =
            vec![["ID", "PUBLIC KEY", "CREATED", "REPLACED", "REVOKED"].map(str::to_owned)];
        for key in list(&answer) {
            rows.push(
                ["id", "public", "created", "replaced", "revoked"].map(|name| text(&key[name])),
            );
        }
        Ok(table::print(&rows, "no keys")?)
    }
}

fn print(line: &str) -> Result<()> {
    let mut out = output::stdout();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
