//! `nephometer component pull`, `push`, `ls`, `verify`, `sign`, `new-key`, `update` and `diff`:
//! components and registries.

mod configured;
mod diff;
mod ls;
mod pull;
mod push;
mod sign;
mod update;
mod verify;

use std::io::Write;

use anyhow::Result;
use serde_json::Value;

use super::output;

pub(super) use diff::Diff;
pub(super) use ls::LsComponents;
pub(super) use pull::Pull;
pub(super) use push::Push;
pub(super) use sign::{NewKey, Sign};
pub(super) use update::Update;
pub(super) use verify::Verify;

/// Prints what a command did: one JSON document, or lines.
fn report(is_json: bool, document: &Value, lines: &[String]) -> Result<()> {
    if is_json {
        return output::print_json(document);
    }
    let mut out = output::stdout();
    for line in lines {
        writeln!(out, "{}", output::paragraph(line))?;
    }
    Ok(out.flush()?)
}

/// Who signed a component, for people.
fn signed(key: Option<&String>) -> String {
    key.map_or_else(|| "not signed by a known key".to_owned(), |key| format!("signed by {key}"))
}
