//! `nephometer gaps`

use std::io::Write;

use anyhow::Result;
use clap::Args;

use super::ask::{Socket, list, text};
use super::output;
use super::store_client::StoreClient;
use crate::control::Request;

/// List periods with missing samples, and the reason
///
/// Prints one line per period: from, until, reason, resource, source, meters. Asks the running
/// agent; if none runs, reads its store.
#[derive(Debug, Args)]
pub(super) struct Gaps {
    #[command(flatten)]
    socket: Socket,
    /// Only periods of this resource, and those of all resources
    #[arg(long, value_name = "ID")]
    resource: Option<String>,
    /// Print one JSON array instead of text
    #[arg(long)]
    json: bool,
}

impl Gaps {
    pub(super) fn execute(self) -> Result<()> {
        let answer = StoreClient::new(&self.socket).request(Request::Gaps)?;
        let matches = |resource: &str| {
            resource == "*" || self.resource.as_deref().is_none_or(|only| only == resource)
        };
        let gaps: Vec<_> = list(&answer)
            .iter()
            .filter(|gap| matches(gap["resource"].as_str().unwrap_or_default()))
            .collect();
        let mut out = output::stdout();
        if self.json {
            writeln!(out, "{}", serde_json::to_string(&gaps)?)?;
            return Ok(out.flush()?);
        }
        for gap in gaps {
            let meters: Vec<String> = list(&gap["meters"]).iter().map(text).collect();
            writeln!(
                out,
                "{} to {} {} resource {} source {}: {}",
                text(&gap["from"]),
                text(&gap["until"]),
                text(&gap["reason"]),
                text(&gap["resource"]),
                text(&gap["source"]),
                meters.join(", ")
            )?;
        }
        Ok(out.flush()?)
    }
}
