//! `nephometer component new` and `nephometer component build`

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use super::{Failure, output};
use nephometer_sdk::{self as sdk, SdkError};

/// Create a project for a new component
///
/// The folder has a working component: source, tests, fixtures, a README, a Makefile, the contract
/// and a helper library.
#[derive(Debug, Args)]
pub(super) struct New {
    /// Name of the component, as in pipeline.yaml
    name: String,
    /// Programming language
    #[arg(long, value_enum)]
    lang: Language,
    /// Kind of component
    #[arg(long, value_enum, default_value_t = Kind::Transformer)]
    kind: Kind,
    /// Folder in which the project is created
    #[arg(long, value_name = "DIR", default_value = ".")]
    folder: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Language {
    Rust,
    C,
    #[value(alias = "javascript")]
    Js,
    #[value(alias = "typescript")]
    Ts,
    Python,
    Go,
    Zig,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    Transformer,
    Publisher,
}

impl New {
    pub(super) fn execute(self) -> Result<()> {
        let language = match self.lang {
            Language::Rust => sdk::Language::Rust,
            Language::C => sdk::Language::C,
            Language::Js => sdk::Language::JavaScript,
            Language::Ts => sdk::Language::TypeScript,
            Language::Python => sdk::Language::Python,
            Language::Go => sdk::Language::Go,
            Language::Zig => sdk::Language::Zig,
        };
        let kind = match self.kind {
            Kind::Transformer => sdk::Kind::Transformer,
            Kind::Publisher => sdk::Kind::Publisher,
        };
        let folder =
            sdk::create(&self.folder, &self.name, language, kind).map_err(with_exit_code)?;
        let mut out = output::stdout();
        let shown = folder.strip_prefix(".").unwrap_or(&folder).display();
        writeln!(out, "ok: created {shown}, a {} in {language}", kind.word())?;
        writeln!(out, "next: cd {shown} && make test && make run")?;
        Ok(out.flush()?)
    }
}

/// Build the component of a project
///
/// Runs the compiler of the project's language and turns its output into a component.
#[derive(Debug, Args)]
pub(super) struct Build {
    /// Folder of the project
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// File to write the component to [default: FOLDER/NAME.wasm, with the folder's name]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// World of the contract that it implements (projects in Rust name it in their source) [default:
    /// as in component.world, else stateful-transformer]
    #[arg(long)]
    world: Option<String>,
}

impl Build {
    pub(super) fn execute(self) -> Result<()> {
        let folder = self.folder.canonicalize();
        let folder =
            folder.with_context(|| self.folder.display().to_string()).context(Failure::Usage)?;
        let name = folder.file_name().unwrap_or_default();
        let output = match self.output {
            Some(file) => std::path::absolute(&file).with_context(|| file.display().to_string())?,
            None => folder.join(name).with_extension("wasm"),
        };
        let world = match self.world {
            Some(world) => world,
            None => sdk::world_of(&folder).map_err(with_exit_code)?,
        };
        let request = sdk::Build { folder, output, world };
        let language = sdk::build(&request).map_err(with_exit_code)?;
        let mut out = output::stdout();
        let size = request.output.metadata().map_or(0, |meta| meta.len());
        writeln!(out, "ok: {}, {size} bytes, built from {language}", request.output.display())?;
        Ok(out.flush()?)
    }
}

/// Attaches the exit code: errors that a user has to fix are not internal errors.
fn with_exit_code(error: SdkError) -> anyhow::Error {
    let failure = match &error {
        SdkError::Name(_)
        | SdkError::BuiltIn(_)
        | SdkError::Exists(_)
        | SdkError::NoTemplate { .. }
        | SdkError::NoProject { .. }
        | SdkError::OnlyStateful
        | SdkError::File { .. } => Failure::Usage,
        SdkError::Missing { .. } => Failure::Unavailable,
        SdkError::Failed { .. } | SdkError::Encode { .. } => Failure::Mismatch,
        SdkError::Contract { .. } => Failure::Configuration,
    };
    anyhow::Error::new(error).context(failure)
}
