//! `nephometer gaps`

use std::io::Write;

use anyhow::Result;
use clap::Args;

use super::ask::{Socket, list, text};
use super::store_client::StoreClient;
use super::{output, table};
use crate::control::Request;

/// List periods with missing samples, and the reason
///
/// Prints one row per period; the resource `*` stands for all. Asks the running agent; if none runs,
/// reads its store.
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
        if self.json {
            let mut out = output::stdout();
            writeln!(out, "{}", serde_json::to_string(&gaps)?)?;
            return Ok(out.flush()?);
        }
        let mut rows =
            vec![["FROM", "UNTIL", "REASON", "RESOURCE", "SOURCE", "METERS"].map(str::to_owned)];
        for gap in gaps {
            let meters: Vec<String> = list(&gap["meters"]).iter().map(text).collect();
            let cell = |name: &str| text(&gap[name]);
            let [from, until, reason] = ["from", "until", "reason"].map(cell);
            let [resource, source] = ["resource", "source"].map(cell);
            rows.push([from, until, reason, resource, source, meters.join(", ")]);
        }
        Ok(table::print(&rows, "no samples are known to be missing")?)
    }
}
