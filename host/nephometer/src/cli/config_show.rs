//! `nephometer config show`

use std::io::{self, Write};

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::args::Common;
use super::{output, table};
use nephometer_config::{self as config, EffectiveSettings, Setting, SettingOrigin};

/// Show the configuration as the agent understands it
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    Show(ConfigShow),
}

/// Print the value of every key, and where it comes from
///
/// That is the default, a line of a file, a line of ceilometer.conf, a variable of the environment, an
/// option of the command line, or a file with a secret. Secrets are printed as ***. Exits with 78 if
/// nephometer.yaml has errors; those of pipeline.yaml do not prevent the output.
#[derive(Debug, Args)]
pub(super) struct ConfigShow {
    #[command(flatten)]
    common: Common,
    /// Print only what differs from the default
    #[arg(long)]
    changed: bool,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl ConfigCommand {
    pub(super) fn execute(self) -> Result<()> {
        let Self::Show(show) = self;
        show.execute()
    }
}

impl ConfigShow {
    fn execute(&self) -> Result<()> {
        let mut found = config::settings(&self.common.inputs())?;
        if self.changed {
            found.settings.retain(|setting| setting.is_changed);
        }
        let mut out = output::stdout();
        if self.json {
            writeln!(out, "{}", to_json(&found))?;
        } else {
            print(&mut out, &found)?;
        }
        out.flush()?;
        if !found.is_valid {
            let what = "warning: the configuration has errors, which `nephometer check` prints";
            output::print_error(what);
        }
        Ok(())
    }
}

fn to_json(found: &EffectiveSettings) -> Value {
    let files = found
        .files
        .iter()
        .map(|file| json!({"file": file.name, "path": file.path, "exists": file.exists}));
    let settings = found.settings.iter().map(|one| {
        json!({
            "file": one.file,
            "key": one.key,
            "value": one.value,
            "default": one.default,
            "changed": one.is_changed,
            "origin": origin_json(&one.origin),
            "note": one.note,
        })
    });
    json!({
        "valid": found.is_valid,
        "files": files.collect::<Vec<_>>(),
        "settings": settings.collect::<Vec<_>>(),
    })
}

fn origin_json(origin: &SettingOrigin) -> Value {
    match origin {
        SettingOrigin::Default => json!({"kind": "default"}),
        SettingOrigin::File(location) => json!({
            "kind": "file",
            "path": *location.file,
            "line": location.line,
            "column": location.column,
        }),
        SettingOrigin::Ceilometer(place) => {
            let (path, line) = place.rsplit_once(':').unwrap_or((place, ""));
            json!({"kind": "ceilometer.conf", "path": path, "line": line.parse::<u64>().ok()})
        }
        SettingOrigin::Environment(name) => json!({"kind": "environment", "variable": name}),
        SettingOrigin::CommandLine(option) => json!({"kind": "command line", "option": option}),
        SettingOrigin::SecretFile { path, named_by } => {
            json!({"kind": "secret file", "path": path, "named_by": origin_json(named_by)})
        }
    }
}

fn origin_text(origin: &SettingOrigin) -> String {
    match origin {
        SettingOrigin::Default => "default".to_owned(),
        SettingOrigin::File(location) => format!("{}:{}", location.file, location.line),
        SettingOrigin::Ceilometer(place) => place.clone(),
        SettingOrigin::Environment(name) => name.clone(),
        SettingOrigin::CommandLine(option) => option.clone(),
        SettingOrigin::SecretFile { path, named_by } => {
            format!("{path}, named by {}", origin_text(named_by))
        }
    }
}

fn print(out: &mut impl Write, found: &EffectiveSettings) -> io::Result<()> {
    for file in &found.files {
        let absent = if file.exists { "" } else { " (does not exist)" };
        writeln!(out, "{}: {}{absent}", file.name, file.path)?;
    }
    for file in ["nephometer.yaml", "polling.yaml", "pipeline.yaml"] {
        let mut rows = vec![["KEY", "VALUE", "FROM"].map(str::to_owned)];
        rows.extend(found.settings.iter().filter(|one| one.file == file).map(row));
        if rows.len() > 1 {
            writeln!(out)?;
            table::write_aligned(out, &rows)?;
        }
    }
    Ok(())
}

fn row(one: &Setting) -> [String; 3] {
    let value = match &one.value {
        Value::String(text) if !text.is_empty() => text.clone(),
        other => other.to_string(),
    };
    let note = one.note.map(|note| format!(" ({note})")).unwrap_or_default();
    [one.key.clone(), value, origin_text(&one.origin) + &note]
}
