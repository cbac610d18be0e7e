//! `nephometer page`: the address of a running agent's page.

use std::io::Write;

use anyhow::Result;
use clap::Args;

use super::ask::Socket;
use super::{Failure, output};
use crate::control::Request;

/// Print the address of a running agent's page
///
/// The page shows the pipeline, domains, missing values and reloads, live, in a browser. The address has
/// a token in it, since the page names projects and machines: whoever has the address sees the page. The
/// token stays the same until page-token in the store's folder is removed.
#[derive(Debug, Args)]
pub(super) struct Page {
    #[command(flatten)]
    socket: Socket,
    /// Print one JSON object: addresses without the token, and the token
    #[arg(long)]
    json: bool,
}

impl Page {
    pub(super) fn execute(self) -> Result<()> {
        let answer = self.socket.send(&Request::Page)?;
        if self.json {
            return output::print_json(&answer);
        }
        let addresses = answer["addresses"].as_array().map_or(&[][..], Vec::as_slice);
        if addresses.is_empty() {
            let reason = "telemetry.listen has no TCP address, which a browser needs; \
                          set it to 127.0.0.1:9464, for example, and restart the agent";
            return Err(anyhow::anyhow!(reason).context(Failure::Unavailable));
        }
        let mut out = output::stdout();
        let token = answer["token"].as_str().unwrap_or_default();
        for address in addresses.iter().filter_map(|address| address.as_str()) {
            writeln!(out, "{address}#token={token}")?;
        }
        Ok(out.flush()?)
    }
}
