//! `nephometer component inspect`

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::{Map, Value, json};

use super::args::Common;
use super::run::runtime;
use super::{output, tool};
use nephometer_model::clean;
use nephometer_wasm::Inspection;

/// Describe a component
///
/// Prints its name, version, kind and contract, its imports, the grants that these require, and its
/// options. Exits with 78 if the agent would refuse the component.
#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// The component
    file: PathBuf,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    common: Common,
}

impl Inspect {
    pub(super) fn execute(self) -> Result<()> {
        let (host, _) = tool::start(&self.common)?;
        let inspection = tool::accepted(runtime()?.block_on(host.inspect(&self.file)))?;
        if self.json {
            return output::print_json(&to_json(&inspection));
        }
        let mut out = output::stdout();
        write(&mut out, &inspection)?;
        Ok(out.flush()?)
    }
}

/// The schema of the options is text of the component, and null if it is not valid JSON.
fn to_json(one: &Inspection) -> Value {
    let about = &one.description;
    let schema: Value = serde_json::from_str(&about.options_schema).unwrap_or_default();
    let producers = one.producers.iter().map(|(name, value)| json!({"name": name, "value": value}));
    json!({
        "name": about.name,
        "version": about.version,
        "summary": about.summary,
        "kind": if one.publisher { "publisher" } else { "transformer" },
        "stateful": one.is_stateful(),
        "state_version": one.is_stateful().then_some(about.state_version),
        "contract": one.contract(),
        "file": one.path.display().to_string(),
        "size_bytes": one.size,
        "sha256": one.digest.to_string(),
        "producers": producers.collect::<Vec<_>>(),
        "imports": one.imports,
        "network": one.network_use(),
        "options_schema": schema,
    })
}

fn write(out: &mut impl Write, one: &Inspection) -> io::Result<()> {
    let about = &one.description;
    writeln!(out, "{} {}: {}", about.name, about.version, about.summary)?;
    let kind = match (one.publisher, one.is_stateful()) {
        (true, _) => "publisher".to_owned(),
        (false, true) => format!("transformer with state, version {}", about.state_version),
        (false, false) => "transformer without state".to_owned(),
    };
    writeln!(out, "kind: {kind}")?;
    writeln!(out, "contract: nephometer:metering@{}", one.contract().unwrap_or("unknown"))?;
    writeln!(out, "file: {}, {} bytes, sha256 {}", one.path.display(), one.size, one.digest)?;
    for field in ["language", "processed-by", "sdk"] {
        let of = one.producers.iter().filter(|(name, _)| name == field);
        let of: Vec<&str> = of.map(|(_, value)| value.as_str()).collect();
        if !of.is_empty() {
            writeln!(out, "{field}: {}", of.join(", "))?;
        }
    }
    writeln!(out, "imports: {}", if one.imports.is_empty() { "none" } else { "" })?;
    for import in &one.imports {
        writeln!(out, "  {}", clean(import))?;
    }
    match one.network_use() {
        None => writeln!(out, "grants: none needed")?,
        Some(over) => {
            let name = one.path.file_stem().unwrap_or_default().to_string_lossy();
            writeln!(
                out,
                "grants: it uses {over}; its URL grants its own host and port, grant others with\n  \
                 components: {{ by_name: {{ {name}: {{ grants: {{ connect: [\"HOST:PORT\"] }} }} }} }}"
            )?;
        }
    }
    options(out, &about.options_schema)
}

fn options(out: &mut impl Write, schema: &str) -> io::Result<()> {
    let schema: Value = match serde_json::from_str(schema) {
        Ok(schema) => schema,
        Err(_) if schema.trim().is_empty() => return writeln!(out, "options: any"),
        Err(error) => return writeln!(out, "options: the schema is not valid JSON: {error}"),
    };
    writeln!(out, "options:")?;
    properties(out, &schema, 1)
}

fn properties(out: &mut impl Write, schema: &Value, depth: usize) -> io::Result<()> {
    let none = Map::new();
    let required = schema["required"].as_array().map_or(&[][..], Vec::as_slice);
    for (name, about) in schema["properties"].as_object().unwrap_or(&none) {
        let kind = match &about["type"] {
            Value::String(kind) => kind.clone(),
            Value::Array(kinds) => {
                kinds.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or ")
            }
            _ => "any".to_owned(),
        };
        let required_text = if required.iter().any(|one| one == name) { ", required" } else { "" };
        let default = match &about["default"] {
            Value::Null => String::new(),
            value => format!(", default {value}"),
        };
        let text = clean(about["description"].as_str().unwrap_or_default());
        let (name, kind, default) = (clean(name), clean(&kind), clean(&default));
        let separator = if text.is_empty() { "" } else { ": " };
        writeln!(
            out,
            "{}{name} ({kind}{required_text}{default}){separator}{text}",
            "  ".repeat(depth)
        )?;
        properties(out, about, depth + 1)?;
    }
    Ok(())
}
