//! `nephometer schema`

use std::io::Write;

use anyhow::Result;
use clap::{Args, ValueEnum};
use serde_json::{Map, Value};

use super::output;
use nephometer_config::keys::{ConfigFile, FILES, schema};

/// Print the JSON Schema of the configuration files
///
/// Editors complete and check files with it: the shipped files name theirs in their first line. A schema
/// describes the shape of a file; `nephometer check` finds everything else. Prints the schema of one
/// file, or one JSON object with those of all, by the names of the files.
#[derive(Debug, Args)]
pub(super) struct SchemaCommand {
    /// The file
    file: Option<FileKind>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FileKind {
    /// The settings of a host
    #[value(name = "nephometer.yaml", alias = "nephometer")]
    Nephometer,
    /// Sources and sinks
    #[value(name = "pipeline.yaml", alias = "pipeline")]
    Pipeline,
    /// What to poll, for sites with such a file
    #[value(name = "polling.yaml", alias = "polling")]
    Polling,
    /// The settings of nephometer-collector
    #[value(name = "collector.yaml", alias = "collector")]
    Collector,
}

impl FileKind {
    fn name(self) -> &'static str {
        match self {
            Self::Nephometer => "nephometer.yaml",
            Self::Pipeline => "pipeline.yaml",
            Self::Polling => "polling.yaml",
            Self::Collector => "collector.yaml",
        }
    }
}

impl SchemaCommand {
    pub(super) fn execute(self) -> Result<()> {
        let all = |file: &ConfigFile| (file.name.to_owned(), schema(file));
        let printed = match self.file {
            None => Value::Object(FILES.iter().map(all).collect::<Map<_, _>>()),
            Some(kind) => {
                FILES.iter().find(|file| file.name == kind.name()).map(schema).unwrap_or_default()
            }
        };
        let mut out = output::stdout();
        writeln!(out, "{printed:#}")?;
        Ok(out.flush()?)
    }
}
