//! The errors of the SDK.

use std::io;
use std::path::{Path, PathBuf};

use super::language::{Kind, Language};

/// Why a project or a component could not be created.
#[derive(Debug, thiserror::Error)]
pub enum SdkError {
    /// The name is not valid in all tools, or in `pipeline.yaml`.
    #[error(
        "invalid component name {0:?}; use lower-case letters, digits, - and _, and start with a letter"
    )]
    Name(String),
    /// The name of a publisher is the scheme of its URLs, and this one is built in.
    #[error("{0}:// is a built-in publisher; choose another name")]
    BuiltIn(String),
    /// The folder exists. Projects are never overwritten.
    #[error("{} already exists; choose another name, or remove it", .0.display())]
    Exists(PathBuf),
    /// The language has no template for this kind of component.
    #[error("there is no template for a {} in {language}; use Rust", .kind.word())]
    NoTemplate {
        /// The kind of component.
        kind: Kind,
        /// The language.
        language: Language,
    },
    /// The folder is not a project of any language.
    #[error(
        "{}: not a component project: it has none of {marks}; create one with `nephometer component new NAME --lang LANG`",
        .folder.display()
    )]
    NoProject {
        /// The folder.
        folder: PathBuf,
        /// The files that identify projects.
        marks: String,
    },
    /// A tool is not installed.
    #[error("{what} is missing; {remedy}")]
    Missing {
        /// The tool.
        what: String,
        /// How to install it.
        remedy: String,
    },
    /// A tool failed. It has printed the reason to standard error.
    #[error("`{command}` failed with {status}; its output is above")]
    Failed {
        /// The command line.
        command: String,
        /// The exit status.
        status: std::process::ExitStatus,
    },
    /// The helper library of C does not support the world.
    #[error(
        "C supports the world stateful-transformer only; a transformer without state omits `.flush`, `.save` and `.restore`"
    )]
    OnlyStateful,
    /// The contract cannot be read.
    #[error("{}: {reason}", .folder.display())]
    Contract {
        /// The folder of the contract.
        folder: PathBuf,
        /// What is wrong with the contract.
        reason: String,
    },
    /// The core module does not implement the world.
    #[error("{}: cannot be turned into a component: {reason}", .module.display())]
    Encode {
        /// The core module.
        module: PathBuf,
        /// What is wrong with the module.
        reason: String,
    },
    /// A file cannot be read or written.
    #[error("{}", .path.display())]
    File {
        /// The path.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
}

/// Adds the path to an error of the system.
pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> SdkError + '_ {
    move |source| SdkError::File { path: path.to_owned(), source }
}
