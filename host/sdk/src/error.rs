//! What can go wrong, in the words of an author.

use std::io;
use std::path::{Path, PathBuf};

use super::language::{Kind, Language};

/// Why there is no project, or no component.
#[derive(Debug, thiserror::Error)]
pub enum SdkError {
    /// A name that some tool or `pipeline.yaml` would stumble over.
    #[error(
        "invalid component name {0:?}; use lower-case letters, digits, - and _, and start with a letter"
    )]
    Name(String),
    /// A publisher's name is the scheme of its URLs, and this one is taken.
    #[error("{0}:// is a built-in publisher; choose another name")]
    BuiltIn(String),
    /// Nothing is overwritten.
    #[error("{} already exists; choose another name, or remove it", .0.display())]
    Exists(PathBuf),
    /// There is no template.
    #[error("there is no template for a {} in {language}; use Rust", .kind.word())]
    NoTemplate {
        /// What was wanted.
        kind: Kind,
        /// In which language.
        language: Language,
    },
    /// A folder without any of the files that projects are known by.
    #[error(
        "{}: not a component project: it has none of {marks}; create one with `nephometer component new NAME --lang LANG`",
        .folder.display()
    )]
    NoProject {
        /// The folder.
        folder: PathBuf,
        /// What was looked for.
        marks: String,
    },
    /// A tool is not there.
    #[error("{what} is missing; {remedy}")]
    Missing {
        /// The tool.
        what: String,
        /// How to get it.
        remedy: String,
    },
    /// A tool has failed; it has said why on standard error.
    #[error("`{command}` failed with {status}; its output is above")]
    Failed {
        /// What was run.
        command: String,
        /// How it ended.
        status: std::process::ExitStatus,
    },
    /// A world that the helper library of C does not have.
    #[error(
        "C supports the world stateful-transformer only; a transformer without state omits `.flush`, `.save` and `.restore`"
    )]
    OnlyStateful,
    /// The interface descriptions cannot be used.
    #[error("{}: {reason}", .folder.display())]
    Contract {
        /// Where they are.
        folder: PathBuf,
        /// What is wrong with them.
        reason: String,
    },
    /// What the tool made is no module of the world.
    #[error("{}: cannot be turned into a component: {reason}", .module.display())]
    Encode {
        /// The core module.
        module: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file cannot be read or written.
    #[error("{}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Puts the path before what the system says.
pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> SdkError + '_ {
    move |source| SdkError::File { path: path.to_owned(), source }
}
