//! `nephometer component new` and `nephometer component build`

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use super::{Failure, output};
use nephometer_sdk::{self as author, SdkError};

/// Make a folder with a component that works: its source, a test, fixtures, a README, a Makefile, the
/// contract and a helper library.
#[derive(Debug, Args)]
pub(super) struct New {
    /// What it is called, here and in pipeline.yaml
    name: String,
    /// The language
    #[arg(long, value_enum)]
    lang: Language,
    /// What it does
    #[arg(long, value_enum, default_value_t = Kind::Transformer)]
    kind: Kind,
    /// Where the folder is made
    #[arg(long, value_name = "DIR", default_value = ".")]
    folder: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Language {
    Rust,
    C,
    #[value(alias = "javascript")]
    Js,
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
            Language::Rust => author::Language::Rust,
            Language::C => author::Language::C,
            Language::Js => author::Language::JavaScript,
            Language::Python => author::Language::Python,
            Language::Go => author::Language::Go,
            Language::Zig => author::Language::Zig,
        };
        let kind = match self.kind {
            Kind::Transformer => author::Kind::Transformer,
            Kind::Publisher => author::Kind::Publisher,
        };
        let folder = author::create(&self.folder, &self.name, language, kind).map_err(told)?;
        let mut out = output::stdout();
        let shown = folder.strip_prefix(".").unwrap_or(&folder).display();
        writeln!(out, "{shown}: a {} in {language}", kind.word())?;
        writeln!(out, "next: cd {shown} && make test && make run")?;
        Ok(out.flush()?)
    }
}

/// Build a project that `component new` has made: run the tool of its language, and make a component
/// of what that gives.
#[derive(Debug, Args)]
pub(super) struct Build {
    /// The project
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// The component [default: FOLDER/NAME.wasm, NAME being the folder's]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The world of the contract that it is for (a project in Rust names it in its source)
    #[arg(long, default_value = "stateful-transformer")]
    world: String,
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
        let what = author::Build { folder, output, world: self.world };
        let language = author::build(&what).map_err(told)?;
        let mut out = output::stdout();
        let size = what.output.metadata().map_or(0, |meta| meta.len());
        writeln!(out, "{}: {size} bytes, from {language}", what.output.display())?;
        Ok(out.flush()?)
    }
}

/// What a person has to mend is no fault of ours.
fn told(error: SdkError) -> anyhow::Error {
    let failure = match &error {
        SdkError::Name(_)
        | SdkError::BuiltIn(_)
        | SdkError::Exists(_)
        | SdkError::NoTemplate { .. }
        | SdkError::NoProject { .. }
        | SdkError::OnlyStateful
        | SdkError::File { .. } => Failure::Usage,
        SdkError::Missing { .. } => Failure::Unavailable,
        SdkError::Failed { .. } | SdkError::Encode { .. } => Failure::Different,
        SdkError::Contract { .. } => Failure::Configuration,
    };
    anyhow::Error::new(error).context(failure)
}
